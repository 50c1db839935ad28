// WatchFineTuneJob for many thousand watchers: a stream that waits holds no thread, only a
// subscription. When its job changes, one of a few threads reads the next events from the store and
// starts a write; gRPC calls back when it is done. A slow watcher thus reads at its own speed and
// holds nobody back; one that takes nothing at all is cut off, and may come back with the last
// sequence that it has seen. Used by FineTuneService. Thread-safe.
#ifndef LONGLORA_SERVER_API_WATCH_STREAM_H_
#define LONGLORA_SERVER_API_WATCH_STREAM_H_

#include <grpcpp/support/server_callback.h>

#include <deque>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "common/time/clock.h"
#include "longlora/v1/fine_tune_service.pb.h"
#include "server/api/limits.h"
#include "server/events/event_log.h"
#include "server/scheduler/job_reader.h"

namespace longlora::server {

class WatchStream;

// Every open stream and the threads that serve them.
class WatchStreams {
 public:
  WatchStreams(JobReader* reader, EventLog* events, const Limits& limits, common::Clock* clock);
  // The gRPC server must have been shut down: no stream is left.
  ~WatchStreams();

  // For the service method to return; owns itself until gRPC is done with it. Ends at once with
  // RESOURCE_EXHAUSTED (TOO_MANY_WATCHES) when the client or all together have as many as may be.
  grpc::ServerWriteReactor<v1::WatchFineTuneJobResponse>* Start(
      grpc::CallbackServerContext* context, const v1::WatchFineTuneJobRequest& request)
      ABSL_LOCKS_EXCLUDED(mutex_);

  // Ends every stream, also those still to come, with UNAVAILABLE (SERVER_STOPPING).
  void Stop() ABSL_LOCKS_EXCLUDED(mutex_);

  // Cuts off watchers that have taken nothing for Limits.watch_stall. A thread does it from time to
  // time; tests call it.
  void DropStalled() ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  friend class WatchStream;
  // Why another stream of `client` may not begin.
  absl::Status Admit(const std::string& client) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Enqueue(std::shared_ptr<WatchStream> stream) ABSL_LOCKS_EXCLUDED(mutex_);
  void Remove(const std::shared_ptr<WatchStream>& stream) ABSL_LOCKS_EXCLUDED(mutex_);
  void Serve() ABSL_LOCKS_EXCLUDED(mutex_);
  void LookForStalled() ABSL_LOCKS_EXCLUDED(mutex_);
  bool HasWork() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return closed_ || !runnable_.empty();
  }

  JobReader* const reader_;
  EventLog* const events_;
  const Limits limits_;
  common::Clock* const clock_;
  absl::Mutex mutex_;
  std::deque<std::shared_ptr<WatchStream>> runnable_ ABSL_GUARDED_BY(mutex_);
  std::set<std::shared_ptr<WatchStream>> open_ ABSL_GUARDED_BY(mutex_);
  absl::flat_hash_map<std::string, int> open_by_client_ ABSL_GUARDED_BY(mutex_);
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<std::thread> threads_;
};

}  // namespace longlora::server

#endif  // LONGLORA_SERVER_API_WATCH_STREAM_H_
