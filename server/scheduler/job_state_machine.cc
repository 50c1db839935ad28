#include "server/scheduler/job_state_machine.h"

namespace longlora::server {
namespace {

using Job = v1::FineTuneJob;

std::optional<Job::State> FromQueued(JobTrigger trigger) {
  switch (trigger) {
    case JobTrigger::kAssign:
      return Job::PREPARING;
    case JobTrigger::kCancel:
      return Job::CANCELLED;  // nothing runs, nothing to wait for
    case JobTrigger::kPrepared:
    case JobTrigger::kRequeue:
    case JobTrigger::kSucceed:
    case JobTrigger::kFail:
    case JobTrigger::kRelease:
      return std::nullopt;
  }
  return std::nullopt;
}

// PREPARING and RUNNING differ only in what the user sees. A job may succeed while PREPARING: a
// resumed attempt can find that its checkpoint was the last, and results may be committed before
// events arrive.
std::optional<Job::State> FromActive(JobTrigger trigger) {
  switch (trigger) {
    case JobTrigger::kPrepared:
      return Job::RUNNING;
    case JobTrigger::kRequeue:
      return Job::QUEUED;
    case JobTrigger::kSucceed:
      return Job::SUCCEEDED;
    case JobTrigger::kFail:
      return Job::FAILED;
    case JobTrigger::kCancel:
      return Job::CANCELLING;
    case JobTrigger::kAssign:
    case JobTrigger::kRelease:
      return std::nullopt;
  }
  return std::nullopt;
}

// However the attempt of a cancelled job ends, also by success, the job becomes CANCELLED: that is
// what its user was told.
std::optional<Job::State> FromCancelling(JobTrigger trigger) {
  switch (trigger) {
    case JobTrigger::kPrepared:
    case JobTrigger::kCancel:
      return Job::CANCELLING;
    case JobTrigger::kRelease:
      return Job::CANCELLED;
    case JobTrigger::kAssign:
    case JobTrigger::kRequeue:
    case JobTrigger::kSucceed:
    case JobTrigger::kFail:
      return std::nullopt;
  }
  return std::nullopt;
}

}  // namespace

std::optional<Job::State> NextJobState(Job::State state, JobTrigger trigger) {
  switch (state) {
    case Job::QUEUED:
      return FromQueued(trigger);
    case Job::PREPARING:
    case Job::RUNNING:
      return FromActive(trigger);
    case Job::CANCELLING:
      return FromCancelling(trigger);
    default:  // final, and values this program does not know
      return std::nullopt;
  }
}

bool HasActiveAttempt(Job::State state) {
  return state == Job::PREPARING || state == Job::RUNNING || state == Job::CANCELLING;
}

absl::string_view JobTriggerName(JobTrigger trigger) {
  switch (trigger) {
    case JobTrigger::kAssign:
      return "assign";
    case JobTrigger::kPrepared:
      return "prepared";
    case JobTrigger::kRequeue:
      return "requeue";
    case JobTrigger::kSucceed:
      return "succeed";
    case JobTrigger::kFail:
      return "fail";
    case JobTrigger::kCancel:
      return "cancel";
    case JobTrigger::kRelease:
      return "release";
  }
  return "unknown";
}

}  // namespace longlora::server
