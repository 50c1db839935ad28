#include "server/scheduler/failure_policy.h"

#include <algorithm>
#include <array>

#include "absl/strings/str_cat.h"

namespace longlora::server {
namespace {

// Trying these again would end the same way. Every other reason of the API is the system's.
constexpr std::array<absl::string_view, 7> kJobFaults = {
    "INVALID_SPEC",  "DATASET_INVALID", "MODEL_INVALID",        "ADAPTER_INVALID",
    "OUT_OF_MEMORY", "NON_FINITE",      "MAX_DURATION_EXCEEDED"};

// Whether an attempt that stopped by this eviction failed all the same.
bool IsFailure(const v1::Eviction& eviction) {
  return eviction.reason() == "READY_TIMEOUT" || eviction.reason() == "MAX_DURATION_EXCEEDED";
}

// The failure of an end that is no success, before it is judged.
v1::Failure FailureOf(const AttemptEnd& end, const AttemptFacts& facts) {
  switch (end.how) {
    case AttemptEnd::How::kSucceeded:
      return MakeFailure("TRANSFER_FAILED",
                         "the worker reported success, but its results never reached the server");
    case AttemptEnd::How::kStopped:
      if (facts.eviction.has_value()) {
        return MakeFailure(facts.eviction->reason(), facts.eviction->message());
      }
      return MakeFailure("WORKER_LOST", "the worker stopped the attempt without being asked to");
    case AttemptEnd::How::kFailed:
      if (end.failure.reason().empty()) {
        return MakeFailure("TRAINER_ERROR", "the worker reported a failure without a reason");
      }
      break;
    case AttemptEnd::How::kLost:
      break;
  }
  return MakeFailure(end.failure.reason(), end.failure.message());
}

}  // namespace

v1::Failure::Fault FaultOf(absl::string_view reason) {
  return std::find(kJobFaults.begin(), kJobFaults.end(), reason) != kJobFaults.end()
             ? v1::Failure::JOB
             : v1::Failure::SYSTEM;
}

v1::Failure MakeFailure(absl::string_view reason, absl::string_view message) {
  v1::Failure failure;
  failure.set_reason(std::string(reason));
  failure.set_message(std::string(message));
  failure.set_fault(FaultOf(reason));
  return failure;
}

Verdict JudgeAttempt(const AttemptEnd& end, const AttemptFacts& facts) {
  if (facts.job_state == v1::FineTuneJob::CANCELLING) {
    return {JobTrigger::kRelease, v1::Attempt::CANCELLED, std::nullopt};
  }
  if (facts.results_committed) return {JobTrigger::kSucceed, v1::Attempt::SUCCEEDED, std::nullopt};

  const bool pausing = facts.job_state == v1::FineTuneJob::PAUSING;
  if (pausing && end.how == AttemptEnd::How::kStopped) {
    return {JobTrigger::kRelease, v1::Attempt::PAUSED, std::nullopt};
  }
  if (facts.eviction.has_value() && !IsFailure(*facts.eviction) &&
      end.how == AttemptEnd::How::kStopped) {
    return {JobTrigger::kRequeue, v1::Attempt::EVICTED, std::nullopt};
  }

  v1::Failure failure = FailureOf(end, facts);
  if (pausing && failure.fault() == v1::Failure::SYSTEM) {
    failure.set_retried(true);  // once its user resumes the job
    return {JobTrigger::kRelease, v1::Attempt::FAILED, std::move(failure)};
  }
  const int32_t in_a_row = facts.checkpoint_committed ? 1 : facts.failures_before + 1;
  failure.set_retried(failure.fault() == v1::Failure::SYSTEM &&
                      in_a_row < facts.failed_attempts_max);
  if (!failure.retried() && failure.fault() == v1::Failure::SYSTEM) {
    failure.set_message(absl::StrCat(failure.message(), " (attempt ", in_a_row, " of ",
                                     facts.failed_attempts_max,
                                     " without progress; submit the job again to try further)"));
  }
  const JobTrigger trigger = failure.retried() ? JobTrigger::kRequeue : JobTrigger::kFail;
  return {trigger, v1::Attempt::FAILED, std::move(failure)};
}

}  // namespace longlora::server
