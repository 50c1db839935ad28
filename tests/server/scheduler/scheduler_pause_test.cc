// Goal: a paused job holds no devices, loses no work that was committed, and goes on when and only
// when it is resumed. Method: the scheduler on a real store; the worker's side is played by hand.
#include "tests/server/scheduler/scheduler_fixture.h"

namespace longlora::server {
namespace {

class SchedulerPauseTest : public SchedulerWorkerFixture {
 protected:
  Job Ask(JobTrigger trigger, const std::string& job) {
    const absl::StatusOr<Job> answer = scheduler_->Ask(trigger, job, "");
    EXPECT_THAT(answer, IsOk());
    return answer.value_or(Job());
  }
  // The worker delivers a checkpoint of `step` and says that nothing runs any more.
  void StopWithCheckpoint(const std::string& job, int32_t attempt, int64_t step) {
    ASSERT_OK(CommitCheckpoint(worker_, job, attempt, step));
    worker_.Has(job, attempt, AttemptStatus::STOPPED);
    Sync(worker_);
    worker_.Forget(job);
  }
};

TEST_F(SchedulerPauseTest, RunningJobPausesWithACheckpointAndGoesOnFromIt) {
  const std::string job = StartJob();
  EXPECT_EQ(Ask(JobTrigger::kPause, job).state(), Job::PAUSING);
  ASSERT_THAT(Sync(worker_), SizeIs(1));
  EXPECT_EQ(Sync(worker_)[0].desired(), Assignment::PAUSE);
  StopWithCheckpoint(job, 1, 7);
  const Job paused = Get(job);
  EXPECT_EQ(paused.state(), Job::PAUSED);
  EXPECT_EQ(paused.attempts(0).state(), v1::Attempt::PAUSED);
  EXPECT_FALSE(paused.has_end_time());
  EXPECT_FALSE(paused.has_schedule_reason());
  EXPECT_THAT(Sync(worker_), IsEmpty()) << "paused until it is resumed";

  EXPECT_EQ(Ask(JobTrigger::kResume, job).state(), Job::QUEUED);
  const std::vector<Assignment> assignments = Sync(worker_);
  ASSERT_THAT(assignments, SizeIs(1));
  EXPECT_EQ(assignments[0].desired(), Assignment::RUN);
  EXPECT_EQ(assignments[0].attempt(), 2);
  EXPECT_EQ(assignments[0].resume_from().step(), 7);
  EXPECT_THAT(StateHistory(job),
              ElementsAre(Job::QUEUED, Job::PREPARING, Job::RUNNING, Job::PAUSING, Job::PAUSED,
                          Job::QUEUED, Job::PREPARING));
}

TEST_F(SchedulerPauseTest, DevicesOfAPausedJobGoToTheNextAndItsPlaceIsKept) {
  const std::string first = StartJob();
  const std::string second = Submit();
  const std::string third = Submit();
  Ask(JobTrigger::kPause, first);
  StopWithCheckpoint(first, 1, 3);
  EXPECT_EQ(StateOf(second), Job::PREPARING);
  Ask(JobTrigger::kResume, first);
  Accept(worker_, second, 1);
  ASSERT_OK(scheduler_->Ask(JobTrigger::kCancel, second, ""));
  worker_.Has(second, 1, AttemptStatus::STOPPED);
  const std::vector<Assignment> assignments = Sync(worker_);
  ASSERT_THAT(assignments, SizeIs(1));
  EXPECT_EQ(assignments[0].job(), first) << "created before the third";
  EXPECT_EQ(StateOf(third), Job::QUEUED);
}

TEST_F(SchedulerPauseTest, QueuedJobIsPausedAtOnceAndLosesItsBackOff) {
  const std::string job = StartJob();
  worker_.Has(job, 1, AttemptStatus::FAILED, "TRAINER_CRASHED");
  Sync(worker_);
  worker_.Forget(job);
  ASSERT_EQ(StateOf(job), Job::QUEUED);
  EXPECT_EQ(Ask(JobTrigger::kPause, job).state(), Job::PAUSED);
  EXPECT_THAT(Sync(worker_), IsEmpty());
  Ask(JobTrigger::kResume, job);
  EXPECT_THAT(Sync(worker_), SizeIs(1)) << "at once, though the back-off is not over";
}

TEST_F(SchedulerPauseTest, AskingAgainChangesNothing) {
  const std::string job = StartJob();
  EXPECT_EQ(Ask(JobTrigger::kResume, job).state(), Job::RUNNING);
  const Job pausing = Ask(JobTrigger::kPause, job);
  EXPECT_EQ(Ask(JobTrigger::kPause, job).etag(), pausing.etag());
  EXPECT_EQ(ReasonOf(scheduler_->Ask(JobTrigger::kResume, job, "")), "JOB_PAUSING");
  StopWithCheckpoint(job, 1, 2);
  const Job paused = Ask(JobTrigger::kPause, job);
  EXPECT_EQ(paused.state(), Job::PAUSED);
  const Job queued = Ask(JobTrigger::kResume, job);
  EXPECT_EQ(Ask(JobTrigger::kResume, job).last_event_sequence(), queued.last_event_sequence());
}

TEST_F(SchedulerPauseTest, OnlyALivingJobThatIsNotCancelledCanBePaused) {
  const std::string job = StartJob();
  ASSERT_OK(scheduler_->Ask(JobTrigger::kCancel, job, ""));
  for (const JobTrigger trigger : {JobTrigger::kPause, JobTrigger::kResume}) {
    EXPECT_EQ(ReasonOf(scheduler_->Ask(trigger, job, "")), "JOB_CANCELLING");
  }
  worker_.Has(job, 1, AttemptStatus::STOPPED);
  Sync(worker_);
  for (const JobTrigger trigger : {JobTrigger::kPause, JobTrigger::kResume}) {
    EXPECT_EQ(ReasonOf(scheduler_->Ask(trigger, job, "")), "JOB_FINAL");
    EXPECT_EQ(ReasonOf(scheduler_->Ask(trigger, "fineTuneJobs/none-1", "")), "JOB_NOT_FOUND");
  }
}

TEST_F(SchedulerPauseTest, PausingAndPausedJobsCanBeCancelled) {
  const std::string pausing = StartJob();
  Ask(JobTrigger::kPause, pausing);
  EXPECT_EQ(Ask(JobTrigger::kCancel, pausing).state(), Job::CANCELLING);
  EXPECT_EQ(Sync(worker_)[0].desired(), Assignment::STOP);
  worker_.Has(pausing, 1, AttemptStatus::STOPPED);
  Sync(worker_);
  worker_.Forget(pausing);
  EXPECT_EQ(StateOf(pausing), Job::CANCELLED);

  const std::string paused = StartJob();
  Ask(JobTrigger::kPause, paused);
  StopWithCheckpoint(paused, 1, 2);
  EXPECT_EQ(Ask(JobTrigger::kCancel, paused).state(), Job::CANCELLED);
}

TEST_F(SchedulerPauseTest, JobThatIsDoneBeforeItPausesHasSucceeded) {
  const std::string job = StartJob();
  Ask(JobTrigger::kPause, job);
  ASSERT_OK(CommitResults(worker_, job, 1));
  worker_.Has(job, 1, AttemptStatus::SUCCEEDED);
  Sync(worker_);
  EXPECT_EQ(StateOf(job), Job::SUCCEEDED);
}

TEST_F(SchedulerPauseTest, PauseSurvivesARestartOfTheServer) {
  const std::string job = StartJob();
  Ask(JobTrigger::kPause, job);
  Restart();
  ASSERT_THAT(Sync(worker_), SizeIs(1));
  EXPECT_EQ(Sync(worker_)[0].desired(), Assignment::PAUSE);
  StopWithCheckpoint(job, 1, 4);
  Restart();
  EXPECT_EQ(StateOf(job), Job::PAUSED);
  EXPECT_THAT(Sync(worker_), IsEmpty());
  Ask(JobTrigger::kResume, job);
  ASSERT_THAT(Sync(worker_), SizeIs(1));
}

TEST_F(SchedulerPauseTest, LostWorkerOfAPausingJobLeavesItPaused) {
  const std::string job = StartJob();
  ASSERT_OK(CommitCheckpoint(worker_, job, 1, 5));
  Ask(JobTrigger::kPause, job);
  clock_.Advance(WholeLease());
  scheduler_->Tick();
  const Job paused = Get(job);
  EXPECT_EQ(paused.state(), Job::PAUSED);
  EXPECT_EQ(paused.attempts(0).failure().reason(), "WORKER_LOST");
  Ask(JobTrigger::kResume, job);
  worker_.Restart("second");
  const std::vector<Assignment> assignments = Sync(worker_);
  ASSERT_THAT(assignments, SizeIs(1));
  EXPECT_EQ(assignments[0].resume_from().step(), 5);
}

TEST_F(SchedulerPauseTest, PausedBeforeItsWorkerHeardOfItNeedsNoStop) {
  const std::string job = Submit();
  Sync(worker_);  // assigned, but suppose the answer was lost
  Ask(JobTrigger::kPause, job);
  EXPECT_THAT(Sync(worker_), IsEmpty());
  EXPECT_EQ(StateOf(job), Job::PAUSED);
}

TEST_F(SchedulerPauseTest, StaleEtagIsAborted) {
  const std::string job = Submit();
  const std::string seen = Get(job).etag();
  Sync(worker_);
  EXPECT_EQ(ReasonOf(scheduler_->Ask(JobTrigger::kPause, job, seen)), "ETAG_MISMATCH");
  EXPECT_EQ(StateOf(job), Job::PREPARING);
}

}  // namespace
}  // namespace longlora::server
