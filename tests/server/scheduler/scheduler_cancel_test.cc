// Goal: cancelling works from every state and is only done when no process is left; deleting
// removes all. Method: the scheduler on a real store; the worker's side is played by hand.
#include "tests/server/scheduler/scheduler_fixture.h"

namespace longlora::server {
namespace {

class SchedulerCancelTest : public SchedulerWorkerFixture {};

TEST_F(SchedulerCancelTest, QueuedJobIsCancelledAtOnce) {
  Submit();  // takes the device
  Sync(worker_);
  const std::string job = Submit();
  ASSERT_OK_AND_ASSIGN(const Job cancelled, scheduler_->Ask(JobTrigger::kCancel, job, ""));
  EXPECT_EQ(cancelled.state(), Job::CANCELLED);
  EXPECT_TRUE(cancelled.has_end_time());
  EXPECT_THAT(StateHistory(job), ElementsAre(Job::QUEUED, Job::CANCELLED));
}

TEST_F(SchedulerCancelTest, ActiveJobIsCancelledOnlyWhenItsWorkerHasStoppedIt) {
  for (const bool running : {false, true}) {
    const std::string job = StartJob(running);
    ASSERT_OK_AND_ASSIGN(const Job asked, scheduler_->Ask(JobTrigger::kCancel, job, ""));
    EXPECT_EQ(asked.state(), Job::CANCELLING);
    ASSERT_THAT(Sync(worker_), SizeIs(1));
    EXPECT_EQ(Sync(worker_)[0].desired(), Assignment::STOP);
    EXPECT_EQ(StateOf(job), Job::CANCELLING);
    worker_.Has(job, 1, AttemptStatus::FINISHING);
    Sync(worker_);
    EXPECT_EQ(StateOf(job), Job::CANCELLING);
    worker_.Has(job, 1, AttemptStatus::STOPPED);
    EXPECT_THAT(Sync(worker_), IsEmpty());
    EXPECT_EQ(StateOf(job), Job::CANCELLED);
    EXPECT_EQ(Get(job).attempts(0).state(), v1::Attempt::CANCELLED);
    worker_.Forget(job);
  }
}

TEST_F(SchedulerCancelTest, CancellingAgainChangesNothing) {
  const std::string job = StartJob(true);
  ASSERT_OK_AND_ASSIGN(const Job first, scheduler_->Ask(JobTrigger::kCancel, job, ""));
  ASSERT_OK_AND_ASSIGN(const Job second, scheduler_->Ask(JobTrigger::kCancel, job, first.etag()));
  EXPECT_EQ(second.state(), Job::CANCELLING);
  EXPECT_EQ(second.etag(), first.etag());
  EXPECT_EQ(second.last_event_sequence(), first.last_event_sequence());
}

TEST_F(SchedulerCancelTest, FinalJobCannotBeCancelled) {
  const std::string job = Submit();
  ASSERT_OK(scheduler_->Ask(JobTrigger::kCancel, job, ""));
  EXPECT_EQ(ReasonOf(scheduler_->Ask(JobTrigger::kCancel, job, "")), "JOB_FINAL");
  EXPECT_EQ(ReasonOf(scheduler_->Ask(JobTrigger::kCancel, "fineTuneJobs/none-1", "")),
            "JOB_NOT_FOUND");
}

TEST_F(SchedulerCancelTest, JobInBackOffIsCancelledAtOnce) {
  const std::string job = StartJob(true);
  worker_.Has(job, 1, AttemptStatus::FAILED, "TRAINER_CRASHED");
  Sync(worker_);
  ASSERT_EQ(StateOf(job), Job::QUEUED);
  ASSERT_OK_AND_ASSIGN(const Job cancelled, scheduler_->Ask(JobTrigger::kCancel, job, ""));
  EXPECT_EQ(cancelled.state(), Job::CANCELLED);
  clock_.Advance(absl::Minutes(10));
  worker_.Forget(job);
  EXPECT_THAT(Sync(worker_), IsEmpty());
}

TEST_F(SchedulerCancelTest, SuccessReportedAfterCancelIsStillCancelled) {
  const std::string job = StartJob(true);
  ASSERT_OK(scheduler_->Ask(JobTrigger::kCancel, job, ""));
  ASSERT_OK(CommitResults(worker_, job, 1));
  worker_.Has(job, 1, AttemptStatus::SUCCEEDED);
  Sync(worker_);
  EXPECT_EQ(StateOf(job), Job::CANCELLED);
  ASSERT_OK_AND_ASSIGN(const auto results, scheduler_->ListResults(job));
  EXPECT_THAT(results, IsEmpty());
}

TEST_F(SchedulerCancelTest, CancelledBeforeItsWorkerHeardOfItNeedsNoStop) {
  const std::string job = Submit();
  Sync(worker_);  // assigned, but suppose the answer was lost
  ASSERT_OK(scheduler_->Ask(JobTrigger::kCancel, job, ""));
  EXPECT_THAT(Sync(worker_), IsEmpty());
  EXPECT_EQ(StateOf(job), Job::CANCELLED);
}

TEST_F(SchedulerCancelTest, CancelOfALostWorkersJobEndsWithTheLeaseAndItsGrace) {
  const std::string job = StartJob(true);
  ASSERT_OK(scheduler_->Ask(JobTrigger::kCancel, job, ""));
  clock_.Advance(WholeLease() - absl::Seconds(1));
  scheduler_->Tick();
  EXPECT_EQ(StateOf(job), Job::CANCELLING);
  clock_.Advance(absl::Seconds(1));
  scheduler_->Tick();
  EXPECT_EQ(StateOf(job), Job::CANCELLED);
}

TEST_F(SchedulerCancelTest, CancellingSurvivesARestartOfTheServer) {
  const std::string job = StartJob(true);
  ASSERT_OK(scheduler_->Ask(JobTrigger::kCancel, job, ""));
  Restart();
  ASSERT_THAT(Sync(worker_), SizeIs(1));
  EXPECT_EQ(Sync(worker_)[0].desired(), Assignment::STOP);
  worker_.Has(job, 1, AttemptStatus::STOPPED);
  Sync(worker_);
  EXPECT_EQ(StateOf(job), Job::CANCELLED);
}

TEST_F(SchedulerCancelTest, StaleEtagIsAbortedAndNothingHappens) {
  const std::string job = Submit();
  const std::string seen = Get(job).etag();
  Sync(worker_);
  EXPECT_EQ(ReasonOf(scheduler_->Ask(JobTrigger::kCancel, job, seen)), "ETAG_MISMATCH");
  EXPECT_EQ(StateOf(job), Job::PREPARING);
  EXPECT_OK(scheduler_->Ask(JobTrigger::kCancel, job, Get(job).etag()));
}

TEST_F(SchedulerCancelTest, FreedDeviceGoesToTheNextJob) {
  const std::string first = StartJob(true);
  const std::string second = Submit();
  ASSERT_OK(scheduler_->Ask(JobTrigger::kCancel, first, ""));
  Sync(worker_);
  EXPECT_EQ(StateOf(second), Job::QUEUED);
  worker_.Has(first, 1, AttemptStatus::STOPPED);
  const std::vector<Assignment> assignments = Sync(worker_);
  ASSERT_THAT(assignments, SizeIs(1));
  EXPECT_EQ(assignments[0].job(), second);
}

TEST_F(SchedulerCancelTest, DeleteNeedsAFinalJob) {
  const std::string job = StartJob(false);
  EXPECT_EQ(ReasonOf(scheduler_->Delete(job, "", true)), "JOB_NOT_FINAL");
  ASSERT_OK(scheduler_->Ask(JobTrigger::kCancel, job, ""));
  EXPECT_EQ(ReasonOf(scheduler_->Delete(job, "", true)), "JOB_NOT_FINAL");
  EXPECT_EQ(ReasonOf(scheduler_->Delete("fineTuneJobs/none-1", "", true)), "JOB_NOT_FOUND");
}

TEST_F(SchedulerCancelTest, DeletedJobIsGoneWithItsEvents) {
  const std::string job = Submit();
  ASSERT_OK(scheduler_->Ask(JobTrigger::kCancel, job, ""));
  EXPECT_EQ(ReasonOf(scheduler_->Delete(job, "999", false)), "ETAG_MISMATCH");
  ASSERT_OK(scheduler_->Delete(job, Get(job).etag(), false));
  EXPECT_EQ(ReasonOf(scheduler_->GetJob(job)), "JOB_NOT_FOUND");
  EXPECT_EQ(ReasonOf(scheduler_->Delete(job, "", false)), "JOB_NOT_FOUND");
  EXPECT_EQ(scheduler_->Snapshot().jobs_by_state[Job::CANCELLED], 0);
}

TEST_F(SchedulerCancelTest, JobWithCheckpointsIsDeletedByForceOnly) {
  const std::string job = StartJob(true);
  ASSERT_OK(CommitCheckpoint(worker_, job, 1, 5));
  ASSERT_OK(scheduler_->Ask(JobTrigger::kCancel, job, ""));
  worker_.Has(job, 1, AttemptStatus::STOPPED);
  Sync(worker_);
  EXPECT_EQ(ReasonOf(scheduler_->Delete(job, "", false)), "JOB_HAS_ARTIFACTS");
  EXPECT_OK(scheduler_->Delete(job, "", true));
}

}  // namespace
}  // namespace longlora::server
