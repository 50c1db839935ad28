// The life of one attempt on this worker: fetch files, run the ranks, deliver events, checkpoints
// and results. A thread of its own walks through it; the sync loop looks at it with Status() and
// ends it. Its files stay: the sync loop removes them. Thread-safe where not said
// otherwise.
#ifndef LONGLORA_WORKER_AGENT_ATTEMPT_H_
#define LONGLORA_WORKER_AGENT_ATTEMPT_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "common/threads/threads.h"
#include "common/time/clock.h"
#include "common/trainer_protocol/trainer_event.h"
#include "worker/agent/attempt_directory.h"
#include "worker/agent/attempt_id.h"
#include "worker/agent/cancellation.h"
#include "worker/agent/checkpoint_uploader.h"
#include "worker/agent/device_locks.h"
#include "worker/agent/event_spool.h"
#include "worker/agent/event_uploader.h"
#include "worker/agent/file_cache.h"
#include "worker/agent/model_paths.h"
#include "worker/agent/protos.h"
#include "worker/agent/retry.h"
#include "worker/agent/server_link.h"
#include "worker/metrics/worker_metrics.h"
#include "worker/supervisor/device.h"
#include "worker/supervisor/rank_group.h"

namespace longlora::worker {

// What all attempts of a worker share. Everything pointed to outlives them.
struct AttemptEnvironment {
  ServerLink* link = nullptr;
  FileCache* cache = nullptr;
  DeviceLocks* device_locks = nullptr;
  RankStarter make_ranks;
  WorkerMetrics* metrics = nullptr;
  common::Clock* clock = nullptr;
  std::vector<Device> devices;  // of this worker
  ModelRoots roots;
  std::vector<std::string> labels;  // KEY=VALUE, of this worker
  std::string trainer;              // path of the program
  std::string attempts_directory;
  std::string token_cache_directory;  // tokenized datasets, for all attempts; empty: each its own
  std::string mark_prefix;            // of the processes' environment mark, this worker's own
  std::vector<std::string> environment;  // that ranks inherit, NAME=value
  absl::Duration grace = absl::Seconds(30);
  absl::Duration pause_grace = absl::Minutes(10);
  absl::Duration hang_timeout = absl::Minutes(30);
  RetryPolicy retry = {};  // of calls of the server
};

class Attempt : public EventSink {
 public:
  // Why an attempt is to end before it is done, from the mildest on. A stronger one replaces a
  // milder one.
  enum class End {
    kNone,
    kPause,  // the job pauses: stop with a checkpoint and deliver that, however long a step takes
    kLeave,  // the worker ends: the same in the time that its machine gives it
    kStop,   // no longer desired: stop, deliver nothing but events
    kLease,  // the lease lapsed: kill at once; what was already finished is kept and delivered
    kStale,  // another attempt took over, or the worker is torn down: kill at once, deliver nothing
  };

  // Begins at once. `on_change` is called from any thread when Status() has changed.
  Attempt(const AttemptEnvironment& environment, seam::Assignment assignment,
          std::function<void()> on_change);
  // Kills what runs and waits for it.
  ~Attempt() override;

  const AttemptId& id() const { return id_; }
  seam::AttemptStatus Status() const;
  // Nothing of it runs any more and its status is final.
  bool ended() const;
  // The server refused it: to be forgotten without a report once it has ended.
  bool stale() const;
  void RequestEnd(End end);
  // Every event up to `sequence` is durable at the server.
  void Acknowledge(int64_t sequence);

  absl::Status OnEvent(const common::TrainerEvent& event) override;

 private:
  using State = seam::AttemptStatus;

  // attempt.cc: the course of things.
  void Live();
  absl::Status Prepare();
  absl::Status OpenSpool();
  RankGroupResult RunRanks();
  RankGroupSpec GroupSpec() const;
  void Conclude(State::State state, std::optional<api::Failure> failure);
  // To a later state before the end; never back.
  void Advance(State::State state);
  End requested_end() const;
  void SignalEnd(End end) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  // attempt_delivery.cc: what goes to the server.
  absl::Status KeepCheckpoint(const common::CheckpointEvent& event);
  void OnCheckpointFailed(int64_t step, const absl::Status& status);
  void OnEventsRefused(const absl::Status& status);
  absl::Status DeliverResults();
  void FlushEvents();
  void Warn(const std::string& message);
  UploadContext Uploads();

  const AttemptEnvironment& environment_;
  const seam::Assignment assignment_;
  const AttemptId id_;
  const AttemptDirectory directory_;
  const std::function<void()> on_change_;
  Cancellation transfers_;  // downloads and uploads of files

  // Of the attempt's own thread.
  std::vector<Device> devices_;
  std::optional<common::StepEvent> last_step_;
  std::optional<common::FinishedEvent> finished_;

  mutable absl::Mutex mutex_;
  State::State state_ ABSL_GUARDED_BY(mutex_) = State::PREPARING;
  std::optional<api::Failure> failure_ ABSL_GUARDED_BY(mutex_);
  // Set when the attempt must fail although its ranks may be well.
  std::optional<api::Failure> forced_failure_ ABSL_GUARDED_BY(mutex_);
  End requested_end_ ABSL_GUARDED_BY(mutex_) = End::kNone;
  bool delivering_ ABSL_GUARDED_BY(mutex_) = false;  // the ranks are done, results are under way
  std::unique_ptr<Ranks> group_ ABSL_GUARDED_BY(mutex_);
  std::unique_ptr<EventSpool> spool_;  // set before the uploaders, const from then on

  std::unique_ptr<CheckpointUploader> checkpoints_;
  std::unique_ptr<EventUploader> events_;
  common::Thread thread_;
};

}  // namespace longlora::worker

#endif  // LONGLORA_WORKER_AGENT_ATTEMPT_H_
