// The events of one attempt that the server may not have yet, in an append-only file: they outlive
// an outage of the server and the death of the worker. Written by the attempt's thread, read by its
// uploader. Thread-safe.
//
// File: records of {length, CRC-32C of the bytes, bytes of an AttemptEvent}, both numbers 4 bytes,
// little endian. A record that a crash cut short ends the file.
#ifndef LONGLORA_WORKER_AGENT_EVENT_SPOOL_H_
#define LONGLORA_WORKER_AGENT_EVENT_SPOOL_H_

#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "common/io/unique_fd.h"
#include "worker/agent/protos.h"
#include "worker/metrics/worker_metrics.h"

namespace longlora::worker {

struct SpoolLimits {
  int64_t pending_bytes = 256 << 20;  // of events that are not acknowledged
  int64_t compact_bytes = 16 << 20;   // a file larger than this is emptied once all is acknowledged
  size_t batch_events = 1000;         // of ReportEvents
  int64_t batch_bytes = 1 << 20;      // stays below gRPC's message limit
};

class EventSpool {
 public:
  // Opens or creates `path`. What a former life left is kept, all of it pending; a new event
  // follows its last number, or `acknowledged` in an empty file. `metrics`, told of what is
  // pending, must outlive it.
  static absl::StatusOr<std::unique_ptr<EventSpool>> Open(const std::string& path,
                                                          int64_t acknowledged, SpoolLimits limits,
                                                          WorkerMetrics* metrics);
  ~EventSpool();

  // Numbers and keeps `event`. RESOURCE_EXHAUSTED when too much is pending or the disk is full;
  // then it is not kept.
  absl::Status Append(const api::JobEvent& event);

  // The first pending events, durable on this node; empty when there are none.
  absl::StatusOr<std::vector<seam::AttemptEvent>> NextBatch();
  // Everything up to `sequence` is durable at the server. A number that was acknowledged before
  // does nothing.
  void Acknowledge(int64_t sequence);
  // OK when the spool can go on after `sequence`, the last event that the server says it has;
  // DATA_LOSS when what follows was acknowledged and is gone.
  absl::Status CheckFollows(int64_t sequence) const;

  int64_t pending_count() const;
  // Waits until something is pending, Close was called or time is up.
  void WaitForPending(absl::Duration timeout);
  // Waits until nothing is pending; false when time is up.
  bool WaitUntilEmpty(absl::Duration timeout);
  // Nobody waits for more: ends WaitForPending, now and later.
  void Close();

 private:
  struct Entry {
    int64_t sequence;
    int64_t offset;  // of the bytes in the file
    int64_t size;
  };

  EventSpool(std::string path, common::UniqueFd file, SpoolLimits limits, WorkerMetrics* metrics);
  absl::Status Recover(int64_t acknowledged) ABSL_LOCKS_EXCLUDED(mutex_);
  absl::StatusOr<std::string> ReadAt(int64_t offset, int64_t size) const;
  bool HasPendingOrClosed() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return !pending_.empty() || closed_;
  }
  bool IsEmpty() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return pending_.empty(); }

  const std::string path_;
  const common::UniqueFd file_;
  const SpoolLimits limits_;
  WorkerMetrics* const metrics_;
  mutable absl::Mutex mutex_;
  std::deque<Entry> pending_ ABSL_GUARDED_BY(mutex_);
  int64_t pending_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t end_ ABSL_GUARDED_BY(mutex_) = 0;            // size of the file
  int64_t last_sequence_ ABSL_GUARDED_BY(mutex_) = 0;  // given to an event
  bool synced_ ABSL_GUARDED_BY(mutex_) = true;
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace longlora::worker

#endif  // LONGLORA_WORKER_AGENT_EVENT_SPOOL_H_
