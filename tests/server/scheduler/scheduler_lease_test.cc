// Goal: a job is given away only when its worker cannot run it any more, and then surely.
// Method: a clock moved by hand around the end of leases.
#include "tests/server/scheduler/scheduler_fixture.h"

namespace longlora::server {
namespace {

class SchedulerLeaseTest : public SchedulerTest {
 protected:
  void SetUp() override {
    SchedulerTest::SetUp();
    Sync(worker_);
    job_ = Submit();
    Sync(worker_);
    Accept(worker_, job_, 1);
    Prepare(worker_, job_, 1);
  }
  FakeWorker worker_{"a", 1};
  FakeWorker other_{"b", 1};
  std::string job_;
};

TEST_F(SchedulerLeaseTest, SilentWorkersJobIsGivenAwayAfterLeaseAndGrace) {
  clock_.Advance(options_.lease_duration);
  scheduler_->Tick();
  EXPECT_EQ(scheduler_->ListWorkers().value()[0].state(), v1::Worker::LOST);
  EXPECT_EQ(StateOf(job_), Job::RUNNING);
  clock_.Advance(options_.lease_grace - absl::Milliseconds(1));
  Sync(other_);
  scheduler_->Tick();
  EXPECT_EQ(StateOf(job_), Job::RUNNING);  // its ranks may be dying just now
  clock_.Advance(absl::Milliseconds(1));
  scheduler_->Tick();
  EXPECT_EQ(StateOf(job_), Job::QUEUED);
  EXPECT_EQ(Get(job_).attempts(0).failure().reason(), "WORKER_LOST");
  clock_.Advance(options_.back_off.initial);
  const std::vector<Assignment> assignments = Sync(other_);
  ASSERT_THAT(assignments, SizeIs(1));
  EXPECT_EQ(assignments[0].attempt(), 2);
}

TEST_F(SchedulerLeaseTest, WorkerThatComesBackInsideTheGraceGoesOn) {
  clock_.Advance(options_.lease_duration + absl::Seconds(1));
  scheduler_->Tick();
  const std::vector<Assignment> assignments = Sync(worker_);
  ASSERT_THAT(assignments, SizeIs(1));
  EXPECT_EQ(assignments[0].attempt(), 1);
  EXPECT_EQ(assignments[0].desired(), Assignment::RUN);
  EXPECT_EQ(scheduler_->ListWorkers().value()[0].state(), v1::Worker::CONNECTED);
}

TEST_F(SchedulerLeaseTest, WorkerThatComesBackTooLateIsToldToStop) {
  clock_.Advance(WholeLease());
  scheduler_->Tick();
  clock_.Advance(options_.back_off.initial);
  ASSERT_THAT(Sync(other_), SizeIs(1));
  EXPECT_THAT(Sync(worker_), IsEmpty());  // still reports attempt 1: not listed, so it is ended
  auto events = MakeEvents("a", job_, 1);
  AddStep(events, 2, 1);
  EXPECT_EQ(ReasonOf(scheduler_->RecordEvents(events)), "STALE_ATTEMPT");
}

TEST_F(SchedulerLeaseTest, JumpOfTheDateMovesNoLease) {
  clock_.Jump(absl::Hours(24 * 365));
  scheduler_->Tick();
  EXPECT_EQ(StateOf(job_), Job::RUNNING);
  EXPECT_EQ(scheduler_->ListWorkers().value()[0].state(), v1::Worker::CONNECTED);
}

TEST_F(SchedulerLeaseTest, BackOffIsNotProlongedByAJumpOfTheDate) {
  worker_.Has(job_, 1, AttemptStatus::FAILED, "TRAINER_CRASHED");
  Sync(worker_);
  worker_.Forget(job_);
  clock_.Jump(-absl::Hours(24 * 365));
  Restart();  // the back-off is read from the store against the new date
  Sync(worker_);
  clock_.Advance(options_.back_off.maximum);
  EXPECT_THAT(Sync(worker_), SizeIs(1));
}

TEST_F(SchedulerLeaseTest, ReportsKeepTheLeaseForEver) {
  for (int i = 0; i < 100; ++i) {
    clock_.Advance(options_.lease_duration - absl::Milliseconds(1));
    scheduler_->Tick();
    ASSERT_THAT(Sync(worker_), SizeIs(1));
  }
  EXPECT_EQ(StateOf(job_), Job::RUNNING);
  EXPECT_EQ(Get(job_).attempts_size(), 1);
}

TEST_F(SchedulerLeaseTest, LostWorkerGetsNoWork) {
  clock_.Advance(options_.lease_duration);
  scheduler_->Tick();
  const std::string second = Submit();
  scheduler_->Tick();
  EXPECT_EQ(Get(second).schedule_reason().code(), "NO_WORKER");
}

TEST_F(SchedulerLeaseTest, WorkerLostAfterItsResultsWereCommittedSucceeded) {
  ASSERT_OK(CommitResults(worker_, job_, 1));
  clock_.Advance(WholeLease());
  scheduler_->Tick();
  EXPECT_EQ(StateOf(job_), Job::SUCCEEDED);
}

}  // namespace
}  // namespace longlora::server
