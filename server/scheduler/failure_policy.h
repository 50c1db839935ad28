// What the end of an attempt means for its job: whose fault a failure is, whether another attempt
// follows, and when. Pure; called by the scheduler. Maps no exit codes: the worker has turned those
// into reasons.
#ifndef LONGLORA_SERVER_SCHEDULER_FAILURE_POLICY_H_
#define LONGLORA_SERVER_SCHEDULER_FAILURE_POLICY_H_

#include <cstdint>
#include <optional>
#include <string>

#include "absl/strings/string_view.h"
#include "longlora/v1/fine_tune_job.pb.h"
#include "server/scheduler/job_state_machine.h"

namespace longlora::server {

// How an attempt ended, as the server learned it.
struct AttemptEnd {
  enum class How {
    kSucceeded,  // its worker says so
    kFailed,     // its worker says so, with `failure`
    kStopped,    // its worker ended it without a failure
    kLost,       // its worker is gone or has forgotten it; `failure` says which
  };
  How how = How::kFailed;
  v1::Failure failure;
};

// What follows for the job.
struct Verdict {
  JobTrigger trigger = JobTrigger::kFail;
  v1::Attempt::State attempt_state = v1::Attempt::FAILED;
  std::optional<v1::Failure>
      failure;  // of the attempt, with fault and `retried`; set when it FAILED
};

// The facts that a verdict rests on.
struct AttemptFacts {
  v1::FineTuneJob::State job_state = v1::FineTuneJob::RUNNING;  // one with an active attempt
  bool results_committed = false;                               // by this attempt
  int32_t failures_before = 0;  // attempts in a row that failed before it without a new checkpoint
  bool checkpoint_committed = false;     // by this attempt: it got further than the one before
  std::optional<v1::Eviction> eviction;  // the server asked it to end
  int32_t failed_attempts_max = 3;
};

// Whose fault `reason` is. An unknown reason, of a newer worker, counts as the system's: retries
// are bounded.
v1::Failure::Fault FaultOf(absl::string_view reason);

// A failure of `reason` with its fault; `retried` is for JudgeAttempt to set.
v1::Failure MakeFailure(absl::string_view reason, absl::string_view message);

// Committed results make a success of any end: nothing is left to do. A fault of the job is never
// retried; one of the system is, until failed_attempts_max attempts in a row ended so without a new
// checkpoint. An evicted attempt that stopped as it was asked to is no failure, and another
// follows, unless it was evicted for a limit that it broke: READY_TIMEOUT, MAX_DURATION_EXCEEDED. A
// job that pauses is PAUSED by any end that would not make it final for a fault of its
// own.
Verdict JudgeAttempt(const AttemptEnd& end, const AttemptFacts& facts);

}  // namespace longlora::server

#endif  // LONGLORA_SERVER_SCHEDULER_FAILURE_POLICY_H_
