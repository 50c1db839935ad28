// Keeps this worker in step with the server: says what it has, makes it what the server wants, and
// repeats. Level-triggered, so that either side may die between any two messages. Also guards the
// lease. One thread calls Run (tests: Step); Notify and Leave may be called from any thread.
#ifndef LONGLORA_WORKER_AGENT_SYNC_LOOP_H_
#define LONGLORA_WORKER_AGENT_SYNC_LOOP_H_

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "common/time/backoff.h"
#include "common/time/clock.h"
#include "worker/agent/attempt.h"
#include "worker/agent/lease.h"
#include "worker/agent/protos.h"

namespace longlora::worker {

struct SyncOptions {
  std::string incarnation;  // random, new with every start
  std::string version;
  absl::Duration call_timeout = absl::Seconds(10);
  // How long a leaving worker waits for its attempts to stop and deliver their checkpoints.
  absl::Duration leave_timeout = absl::Minutes(5);
  // Between calls while the server is away. Short: the lease runs meanwhile.
  common::BackoffPolicy retry = {.initial = absl::Milliseconds(200), .maximum = absl::Seconds(1)};
};

class SyncLoop {
 public:
  // `environment` outlives it.
  SyncLoop(SyncOptions options, const AttemptEnvironment& environment);
  // Kills what still runs.
  ~SyncLoop();

  // Returns OK after Leave, when the server knows or cannot be reached. INVALID_ARGUMENT or
  // ALREADY_EXISTS when the server will not have this worker; then nothing runs any more.
  absl::Status Run();
  // Something changed: the server shall know soon.
  void Notify();
  // Ends the worker: attempts stop with a checkpoint, the server is told.
  void Leave();

  // One call of the server and what follows from it; returns the time until the next one is due.
  // Errors as Run.
  absl::StatusOr<absl::Duration> Step();
  // Ends what may not run without a lease. Call it whenever time has passed.
  void CheckLease();

 private:
  seam::SynchronizeRequest BuildRequest();
  absl::Duration CallTimeout() const;
  absl::StatusOr<absl::Duration> HandleError(const absl::Status& status);
  void Reconcile(const seam::SynchronizeRequest& request,
                 const seam::SynchronizeResponse& response);
  void ApplyAssignment(const seam::Assignment& assignment);
  void ForgetStale();
  void KillUnended();
  // Ends it if it has not ended, and removes its files.
  void Forget(const AttemptId& id);
  absl::Status Drain();
  bool leaving() const;
  // Waits for Notify, Leave or the time.
  void Wait(absl::Duration duration);
  bool WakeRequested() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return notified_; }

  const SyncOptions options_;
  const AttemptEnvironment& environment_;

  // Of Run's thread.
  std::map<AttemptId, std::unique_ptr<Attempt>> attempts_;
  // Attempts that were to be stopped before they ever arrived here.
  std::set<AttemptId> never_begun_;
  Lease lease_;
  int failures_ = 0;  // calls in a row
  int64_t reports_ = 0;

  mutable absl::Mutex mutex_;
  bool notified_ ABSL_GUARDED_BY(mutex_) = false;
  bool leaving_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace longlora::worker

#endif  // LONGLORA_WORKER_AGENT_SYNC_LOOP_H_
