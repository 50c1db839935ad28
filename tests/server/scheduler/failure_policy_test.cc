// Goal: each end of an attempt has the right consequence for the job.
// Method: tables over reasons, ends and counts; no scheduler.
#include "server/scheduler/failure_policy.h"

#include "gtest/gtest.h"

namespace longlora::server {
namespace {

using How = AttemptEnd::How;

AttemptEnd Failed(const std::string& reason) { return {How::kFailed, MakeFailure(reason, "text")}; }

TEST(FailurePolicyTest, FaultsOfTheJobAreNeverRetried) {
  for (const char* reason : {"INVALID_SPEC", "DATASET_INVALID", "MODEL_INVALID", "ADAPTER_INVALID",
                             "OUT_OF_MEMORY", "NON_FINITE"}) {
    const Verdict verdict = JudgeAttempt(Failed(reason), {});
    EXPECT_EQ(verdict.trigger, JobTrigger::kFail) << reason;
    EXPECT_EQ(verdict.failure->fault(), v1::Failure::JOB) << reason;
    EXPECT_FALSE(verdict.failure->retried()) << reason;
  }
}

TEST(FailurePolicyTest, FaultsOfTheSystemAreRetried) {
  for (const char* reason : {"RESUME_MISMATCH", "TRAINER_CRASHED", "TRAINER_ERROR", "DISK_FULL",
                             "DEVICE_UNAVAILABLE", "PEER_LOST", "WORKER_LOST", "WORKER_RESTARTED",
                             "TRANSFER_FAILED", "EXPORT_INVALID", "A_REASON_OF_A_NEWER_WORKER"}) {
    const Verdict verdict = JudgeAttempt(Failed(reason), {});
    EXPECT_EQ(verdict.trigger, JobTrigger::kRequeue) << reason;
    EXPECT_EQ(verdict.attempt_state, v1::Attempt::FAILED) << reason;
    EXPECT_EQ(verdict.failure->fault(), v1::Failure::SYSTEM) << reason;
    EXPECT_TRUE(verdict.failure->retried()) << reason;
    EXPECT_EQ(verdict.failure->message(), "text") << reason;
  }
}

TEST(FailurePolicyTest, RetriesEndAfterSoManyFailuresInARow) {
  AttemptFacts facts;
  facts.failed_attempts_max = 3;
  facts.failures_before = 1;
  EXPECT_EQ(JudgeAttempt(Failed("TRAINER_CRASHED"), facts).trigger, JobTrigger::kRequeue);
  facts.failures_before = 2;
  const Verdict last = JudgeAttempt(Failed("TRAINER_CRASHED"), facts);
  EXPECT_EQ(last.trigger, JobTrigger::kFail);
  EXPECT_FALSE(last.failure->retried());
  EXPECT_NE(last.failure->message().find("3 of 3"), std::string::npos);
}

TEST(FailurePolicyTest, AttemptWithANewCheckpointStartsTheCountAnew) {
  AttemptFacts facts;
  facts.failures_before = 2;
  facts.checkpoint_committed = true;
  EXPECT_EQ(JudgeAttempt(Failed("TRAINER_CRASHED"), facts).trigger, JobTrigger::kRequeue);
}

TEST(FailurePolicyTest, CommittedResultsMakeASuccessOfEveryEnd) {
  AttemptFacts facts;
  facts.results_committed = true;
  for (const How how : {How::kSucceeded, How::kFailed, How::kStopped, How::kLost}) {
    const Verdict verdict = JudgeAttempt({how, MakeFailure("WORKER_LOST", "")}, facts);
    EXPECT_EQ(verdict.trigger, JobTrigger::kSucceed);
    EXPECT_EQ(verdict.attempt_state, v1::Attempt::SUCCEEDED);
    EXPECT_FALSE(verdict.failure.has_value());
  }
}

TEST(FailurePolicyTest, SuccessWithoutResultsIsAFailedTransfer) {
  const Verdict verdict = JudgeAttempt({How::kSucceeded, {}}, {});
  EXPECT_EQ(verdict.trigger, JobTrigger::kRequeue);
  EXPECT_EQ(verdict.failure->reason(), "TRANSFER_FAILED");
}

TEST(FailurePolicyTest, UnaskedStopIsTheWorkersFault) {
  const Verdict verdict = JudgeAttempt({How::kStopped, {}}, {});
  EXPECT_EQ(verdict.trigger, JobTrigger::kRequeue);
  EXPECT_EQ(verdict.failure->reason(), "WORKER_LOST");
}

TEST(FailurePolicyTest, FailureWithoutReasonGetsOne) {
  EXPECT_EQ(JudgeAttempt({How::kFailed, {}}, {}).failure->reason(), "TRAINER_ERROR");
}

TEST(FailurePolicyTest, EveryEndOfACancelledJobReleasesIt) {
  AttemptFacts facts;
  facts.job_state = v1::FineTuneJob::CANCELLING;
  for (const bool results : {false, true}) {
    facts.results_committed = results;
    for (const How how : {How::kSucceeded, How::kFailed, How::kStopped, How::kLost}) {
      const Verdict verdict = JudgeAttempt({how, MakeFailure("OUT_OF_MEMORY", "")}, facts);
      EXPECT_EQ(verdict.trigger, JobTrigger::kRelease);
      EXPECT_EQ(verdict.attempt_state, v1::Attempt::CANCELLED);
    }
  }
}

TEST(FailurePolicyTest, JobThatPausesIsPausedUnlessItIsDoneOrAtFault) {
  AttemptFacts facts;
  facts.job_state = v1::FineTuneJob::PAUSING;
  facts.failures_before = 2;  // the next would be the last
  const Verdict stopped = JudgeAttempt({How::kStopped, {}}, facts);
  EXPECT_EQ(stopped.trigger, JobTrigger::kRelease);
  EXPECT_EQ(stopped.attempt_state, v1::Attempt::PAUSED);
  EXPECT_FALSE(stopped.failure.has_value());
  const Verdict crashed = JudgeAttempt(Failed("TRAINER_CRASHED"), facts);
  EXPECT_EQ(crashed.trigger, JobTrigger::kRelease);
  EXPECT_EQ(crashed.attempt_state, v1::Attempt::FAILED);
  EXPECT_TRUE(crashed.failure->retried());
  const Verdict at_fault = JudgeAttempt(Failed("NON_FINITE"), facts);
  EXPECT_EQ(at_fault.trigger, JobTrigger::kFail);
  EXPECT_FALSE(at_fault.failure->retried());
  facts.results_committed = true;
  EXPECT_EQ(JudgeAttempt({How::kStopped, {}}, facts).trigger, JobTrigger::kSucceed);
}

TEST(FailurePolicyTest, EvictedAttemptThatStopsAsAskedIsNoFailure) {
  AttemptFacts facts;
  facts.eviction.emplace().set_reason("WORKER_DRAINED");
  facts.failures_before = 2;
  const Verdict stopped = JudgeAttempt({How::kStopped, {}}, facts);
  EXPECT_EQ(stopped.trigger, JobTrigger::kRequeue);
  EXPECT_EQ(stopped.attempt_state, v1::Attempt::EVICTED);
  EXPECT_FALSE(stopped.failure.has_value());
  EXPECT_EQ(JudgeAttempt(Failed("TRAINER_CRASHED"), facts).attempt_state, v1::Attempt::FAILED);
  facts.job_state = v1::FineTuneJob::PAUSING;  // its user wants it to wait, not to go on elsewhere
  EXPECT_EQ(JudgeAttempt({How::kStopped, {}}, facts).attempt_state, v1::Attempt::PAUSED);
}

TEST(FailurePolicyTest, AttemptThatBrokeALimitFailedThoughItStoppedAsAsked) {
  AttemptFacts facts;
  facts.eviction.emplace().set_reason("READY_TIMEOUT");
  facts.eviction->set_message("too slow");
  const Verdict slow = JudgeAttempt({How::kStopped, {}}, facts);
  EXPECT_EQ(slow.trigger, JobTrigger::kRequeue);
  EXPECT_EQ(slow.attempt_state, v1::Attempt::FAILED);
  EXPECT_EQ(slow.failure->reason(), "READY_TIMEOUT");
  EXPECT_EQ(slow.failure->message(), "too slow");
  facts.failures_before = 2;
  EXPECT_EQ(JudgeAttempt({How::kStopped, {}}, facts).trigger, JobTrigger::kFail);
  facts.failures_before = 0;
  facts.eviction->set_reason("MAX_DURATION_EXCEEDED");
  const Verdict long_enough = JudgeAttempt({How::kStopped, {}}, facts);
  EXPECT_EQ(long_enough.trigger, JobTrigger::kFail);
  EXPECT_EQ(long_enough.failure->fault(), v1::Failure::JOB);
  facts.results_committed = true;
  EXPECT_EQ(JudgeAttempt({How::kStopped, {}}, facts).trigger, JobTrigger::kSucceed);
}

TEST(FailurePolicyTest, VerdictAlwaysFitsTheStateMachine) {
  for (const v1::FineTuneJob::State state :
       {v1::FineTuneJob::PREPARING, v1::FineTuneJob::RUNNING, v1::FineTuneJob::PAUSING,
        v1::FineTuneJob::CANCELLING}) {
    for (const bool results : {false, true}) {
      for (const How how : {How::kSucceeded, How::kFailed, How::kStopped, How::kLost}) {
        AttemptFacts facts;
        facts.job_state = state;
        facts.results_committed = results;
        const Verdict verdict = JudgeAttempt({how, MakeFailure("WORKER_LOST", "")}, facts);
        EXPECT_TRUE(NextJobState(state, verdict.trigger).has_value());
      }
    }
  }
}

}  // namespace
}  // namespace longlora::server
