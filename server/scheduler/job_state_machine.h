// The one table that says how a job's state may change. Pure and total: every state answers every
// trigger. The scheduler asks it for each change; nothing else sets FineTuneJob.state.
#ifndef LONGLORA_SERVER_SCHEDULER_JOB_STATE_MACHINE_H_
#define LONGLORA_SERVER_SCHEDULER_JOB_STATE_MACHINE_H_

#include <array>
#include <optional>

#include "absl/strings/string_view.h"
#include "longlora/v1/fine_tune_job.pb.h"

namespace longlora::server {

// What can happen to a job.
enum class JobTrigger {
  kAssign,    // placement gives it devices
  kPrepared,  // its trainer is ready for the first step
  kRequeue,   // its attempt ended and another follows
  kSucceed,   // its results are committed
  kFail,      // its attempt ended and none follows
  kPause,     // its user wants its devices back, and the job later
  kResume,    // its user wants it to go on
  kCancel,    // its user wants it to end
  kRelease,   // after kPause or kCancel: no process of it is left
};

// Every trigger, in the order of their values.
inline constexpr std::array<JobTrigger, 9> kJobTriggers = {
    JobTrigger::kAssign,  JobTrigger::kPrepared, JobTrigger::kRequeue,
    JobTrigger::kSucceed, JobTrigger::kFail,     JobTrigger::kPause,
    JobTrigger::kResume,  JobTrigger::kCancel,   JobTrigger::kRelease};

// The state that follows; `state` itself when the trigger changes nothing; nullopt when it must not
// happen.
std::optional<v1::FineTuneJob::State> NextJobState(v1::FineTuneJob::State state,
                                                   JobTrigger trigger);

// Whether a job in `state` has an attempt that may be running.
bool HasActiveAttempt(v1::FineTuneJob::State state);

absl::string_view JobTriggerName(JobTrigger trigger);

}  // namespace longlora::server

#endif  // LONGLORA_SERVER_SCHEDULER_JOB_STATE_MACHINE_H_
