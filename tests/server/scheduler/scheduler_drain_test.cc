// Goal: a cordoned worker gets nothing new, a drained one is emptied without a lost step or a
// failure on the job's account. Method: the scheduler on a real store; the workers' side is played
// by hand.
#include "tests/server/scheduler/scheduler_fixture.h"

namespace longlora::server {
namespace {

class SchedulerDrainTest : public SchedulerWorkerFixture {
 protected:
  v1::Worker Set(v1::Worker::Scheduling scheduling) {
    const absl::StatusOr<v1::Worker> worker = scheduler_->SetScheduling("workers/a", scheduling);
    EXPECT_THAT(worker, IsOk());
    return worker.value_or(v1::Worker());
  }
};

TEST_F(SchedulerDrainTest, CordonedWorkerKeepsItsJobAndGetsNoOther) {
  const std::string first = StartJob();
  EXPECT_EQ(Set(v1::Worker::CORDONED).scheduling(), v1::Worker::CORDONED);
  EXPECT_EQ(Sync(worker_)[0].desired(), Assignment::RUN);
  ASSERT_OK(CommitResults(worker_, first, 1));
  worker_.Has(first, 1, AttemptStatus::SUCCEEDED);
  Sync(worker_);
  const std::string second = Submit();
  EXPECT_THAT(Sync(worker_), IsEmpty());
  EXPECT_EQ(Get(second).schedule_reason().code(), "NO_WORKER");
  EXPECT_THAT(Get(second).schedule_reason().message(), HasSubstr("cordoned"));
  EXPECT_EQ(Set(v1::Worker::OPEN).scheduling(), v1::Worker::OPEN);
  EXPECT_THAT(Sync(worker_), SizeIs(1));
}

TEST_F(SchedulerDrainTest, DrainedWorkersJobGoesOnElsewhereFromItsCheckpoint) {
  options_.failed_attempts_max = 1;  // an eviction must not count
  Restart();
  Sync(worker_);
  const std::string job = StartJob();
  EXPECT_EQ(Set(v1::Worker::DRAINING).devices(0).job(), job);
  EXPECT_EQ(StateOf(job), Job::RUNNING);
  EXPECT_EQ(Get(job).attempts(0).eviction().reason(), "WORKER_DRAINED");
  EXPECT_EQ(Sync(worker_)[0].desired(), Assignment::PAUSE);
  ASSERT_OK(CommitCheckpoint(worker_, job, 1, 9));
  worker_.Has(job, 1, AttemptStatus::STOPPED);
  EXPECT_THAT(Sync(worker_), IsEmpty());
  EXPECT_EQ(StateOf(job), Job::QUEUED);
  EXPECT_EQ(Get(job).attempts(0).state(), v1::Attempt::EVICTED);
  EXPECT_FALSE(Get(job).attempts(0).has_failure());
  FakeWorker other("b", 1);
  const std::vector<Assignment> assignments = Sync(other);
  ASSERT_THAT(assignments, SizeIs(1)) << "at once, without a back-off";
  EXPECT_EQ(assignments[0].attempt(), 2);
  EXPECT_EQ(assignments[0].resume_from().step(), 9);
}

TEST_F(SchedulerDrainTest, DrainingAgainEvictsNothingTwice) {
  const std::string job = StartJob();
  Set(v1::Worker::DRAINING);
  const int64_t events = Get(job).last_event_sequence();
  Set(v1::Worker::DRAINING);
  scheduler_->Tick();
  EXPECT_EQ(Get(job).last_event_sequence(), events);
}

TEST_F(SchedulerDrainTest, SchedulingSurvivesServerAndWorker) {
  const std::string job = StartJob();
  Set(v1::Worker::DRAINING);
  Restart();
  worker_.Restart("second");
  Sync(worker_);  // its attempt was lost with it
  EXPECT_EQ(StateOf(job), Job::QUEUED);
  EXPECT_EQ(scheduler_->ListWorkers().value()[0].scheduling(), v1::Worker::DRAINING);
  clock_.Advance(absl::Minutes(10));
  EXPECT_THAT(Sync(worker_), IsEmpty());
}

TEST_F(SchedulerDrainTest, CordonedWorkerIsNotForgottenWhileItIsAway) {
  Set(v1::Worker::CORDONED);
  clock_.Advance(options_.worker_retention * 2);
  scheduler_->Tick();
  ASSERT_THAT(scheduler_->ListWorkers().value(), SizeIs(1));
  Set(v1::Worker::OPEN);
  scheduler_->Tick();
  EXPECT_THAT(scheduler_->ListWorkers().value(), IsEmpty());
}

TEST_F(SchedulerDrainTest, PauseAndCancelOfAnEvictedJobHoldGood) {
  const std::string paused = StartJob();
  Set(v1::Worker::DRAINING);
  ASSERT_OK(scheduler_->Ask(JobTrigger::kPause, paused, ""));
  EXPECT_EQ(Sync(worker_)[0].desired(), Assignment::PAUSE);
  worker_.Has(paused, 1, AttemptStatus::STOPPED);
  Sync(worker_);
  EXPECT_EQ(StateOf(paused), Job::PAUSED);

  worker_.Forget(paused);
  Set(v1::Worker::OPEN);
  const std::string cancelled = StartJob();
  Set(v1::Worker::DRAINING);
  ASSERT_OK(scheduler_->Ask(JobTrigger::kCancel, cancelled, ""));
  EXPECT_EQ(Sync(worker_)[0].desired(), Assignment::STOP);
}

TEST_F(SchedulerDrainTest, UnknownAndMalformedWorkersAreRefused) {
  EXPECT_EQ(ReasonOf(scheduler_->SetScheduling("workers/none", v1::Worker::CORDONED)),
            "WORKER_NOT_FOUND");
  EXPECT_EQ(ReasonOf(scheduler_->SetScheduling("a", v1::Worker::CORDONED)), "NAME_INVALID");
}

}  // namespace
}  // namespace longlora::server
