// Goal: workers that restart, leave, forget or duplicate themselves neither lose a job nor run it
// twice. Method: reports by hand; what the server answers is what the worker should have.
#include "tests/server/scheduler/scheduler_fixture.h"

namespace longlora::server {
namespace {

class SchedulerWorkerTest : public SchedulerTest {
 protected:
  void SetUp() override {
    SchedulerTest::SetUp();
    Sync(worker_);
    job_ = Submit();
  }
  FakeWorker worker_{"a", 2};
  std::string job_;
};

TEST_F(SchedulerWorkerTest, AssignmentHasEverythingTheWorkerNeeds) {
  const std::vector<Assignment> assignments = Sync(worker_);
  ASSERT_THAT(assignments, SizeIs(1));
  EXPECT_EQ(assignments[0].job(), job_);
  EXPECT_EQ(assignments[0].attempt(), 1);
  EXPECT_EQ(assignments[0].desired(), Assignment::RUN);
  EXPECT_EQ(assignments[0].spec().base_model(), "tiny");
  EXPECT_THAT(assignments[0].device_ids(), ElementsAre("cpu:0"));
  EXPECT_FALSE(assignments[0].has_resume_from());
  ASSERT_OK_AND_ASSIGN(const auto response, scheduler_->Synchronize(worker_.report()));
  EXPECT_EQ(response.lease_duration().seconds(), absl::ToInt64Seconds(options_.lease_duration));
  EXPECT_EQ(response.next_call_delay().seconds(),
            absl::ToInt64Seconds(options_.synchronize_interval));
}

TEST_F(SchedulerWorkerTest, AssignmentThatNeverArrivedIsSentAgain) {
  Sync(worker_);
  for (int i = 0; i < 3; ++i) {
    ASSERT_THAT(Sync(worker_), SizeIs(1));
    EXPECT_EQ(Sync(worker_)[0].attempt(), 1);
  }
  EXPECT_EQ(Get(job_).attempts_size(), 1);
}

TEST_F(SchedulerWorkerTest, RestartedWorkerWithoutTheAttemptLosesIt) {
  Sync(worker_);
  Accept(worker_, job_, 1);
  worker_.Restart("second");
  EXPECT_THAT(Sync(worker_), IsEmpty());
  EXPECT_EQ(Get(job_).attempts(0).failure().reason(), "WORKER_RESTARTED");
  clock_.Advance(options_.back_off.initial);
  const std::vector<Assignment> assignments = Sync(worker_);
  ASSERT_THAT(assignments, SizeIs(1));
  EXPECT_EQ(assignments[0].attempt(), 2);
}

TEST_F(SchedulerWorkerTest, RestartedWorkerThatFoundItsTrainersGoesOn) {
  Sync(worker_);
  Accept(worker_, job_, 1);
  worker_.Restart("second");
  worker_.Has(job_, 1, AttemptStatus::RUNNING);
  const std::vector<Assignment> assignments = Sync(worker_);
  ASSERT_THAT(assignments, SizeIs(1));
  EXPECT_EQ(assignments[0].attempt(), 1);
  EXPECT_EQ(Get(job_).attempts_size(), 1);
  // Without them, in the same life, they are lost after all.
  worker_.Forget(job_);
  Sync(worker_);
  EXPECT_EQ(Get(job_).attempts(0).failure().reason(), "WORKER_RESTARTED");
}

TEST_F(SchedulerWorkerTest, SecondProcessOfOneNameIsTold) {
  Sync(worker_);
  FakeWorker twin("a", 2);
  twin.Restart("second");
  Sync(twin);
  EXPECT_EQ(ReasonOf(scheduler_->Synchronize(worker_.report())), "WORKER_NAME_TAKEN");
}

TEST_F(SchedulerWorkerTest, UnknownAttemptIsNotListedSoItEnds) {
  worker_.Has("fineTuneJobs/unknown-1", 4, AttemptStatus::RUNNING);
  for (const Assignment& assignment : Sync(worker_)) EXPECT_EQ(assignment.job(), job_);
  worker_.Has(job_, 7, AttemptStatus::SUCCEEDED);  // of a future that never was
  Sync(worker_);
  EXPECT_EQ(StateOf(job_), Job::PREPARING);
}

TEST_F(SchedulerWorkerTest, LeavingWorkersJobGoesOnElsewhereFromItsCheckpointWithoutAFailure) {
  options_.failed_attempts_max = 1;  // an eviction must not count
  Restart();
  Sync(worker_);
  Accept(worker_, job_, 1);
  Prepare(worker_, job_, 1);
  worker_.report().set_leaving(true);
  ASSERT_THAT(Sync(worker_), SizeIs(1)) << "its attempt has yet to make a checkpoint";
  EXPECT_EQ(StateOf(job_), Job::RUNNING);
  EXPECT_EQ(Get(job_).attempts(0).eviction().reason(), "WORKER_LEFT");
  ASSERT_OK(CommitCheckpoint(worker_, job_, 1, 9));
  worker_.Has(job_, 1, AttemptStatus::STOPPED);
  EXPECT_THAT(Sync(worker_), IsEmpty());
  EXPECT_EQ(StateOf(job_), Job::QUEUED);
  EXPECT_EQ(Get(job_).attempts(0).state(), v1::Attempt::EVICTED);
  EXPECT_FALSE(Get(job_).attempts(0).has_failure());
  EXPECT_EQ(scheduler_->ListWorkers().value()[0].state(), v1::Worker::LOST);
  scheduler_->Tick();
  EXPECT_EQ(Get(job_).schedule_reason().code(), "NO_WORKER");
  FakeWorker other("b", 1);
  const std::vector<Assignment> assignments = Sync(other);
  ASSERT_THAT(assignments, SizeIs(1)) << "at once, without a back-off";
  EXPECT_EQ(assignments[0].resume_from().step(), 9);
}

TEST_F(SchedulerWorkerTest, LeavingWorkerGetsNoJobAlsoWhileItStillHasOne) {
  Sync(worker_);
  Accept(worker_, job_, 1);
  worker_.report().set_leaving(true);
  const std::string waiting = Submit();
  EXPECT_THAT(Sync(worker_), SizeIs(1)) << "of two devices";
  scheduler_->Tick();
  EXPECT_EQ(StateOf(waiting), Job::QUEUED);
  EXPECT_EQ(Get(waiting).schedule_reason().code(), "NO_WORKER");
  worker_.Restart("second");  // a new life stays
  worker_.report().set_leaving(false);
  ASSERT_THAT(Sync(worker_), SizeIs(1));
  EXPECT_EQ(StateOf(waiting), Job::PREPARING);
}

TEST_F(SchedulerWorkerTest, AttemptThatNeverReachedALeavingWorkerIsPlacedElsewhere) {
  Sync(worker_);
  worker_.report().set_leaving(true);
  EXPECT_THAT(Sync(worker_), IsEmpty());
  EXPECT_EQ(StateOf(job_), Job::QUEUED);
  EXPECT_EQ(Get(job_).attempts(0).state(), v1::Attempt::EVICTED);
}

TEST_F(SchedulerWorkerTest, WorkerThatDiesWhileItLeavesIsAFailure) {
  Sync(worker_);
  Accept(worker_, job_, 1);
  worker_.report().set_leaving(true);
  Sync(worker_);
  clock_.Advance(WholeLease());
  scheduler_->Tick();
  EXPECT_EQ(Get(job_).attempts(0).failure().reason(), "WORKER_LOST");
}

TEST_F(SchedulerWorkerTest, LeavingWorkersLastWordCounts) {
  Sync(worker_);
  Accept(worker_, job_, 1);
  ASSERT_OK(CommitResults(worker_, job_, 1));
  worker_.Has(job_, 1, AttemptStatus::SUCCEEDED);
  worker_.report().set_leaving(true);
  Sync(worker_);
  EXPECT_EQ(StateOf(job_), Job::SUCCEEDED);
}

TEST_F(SchedulerWorkerTest, DevicesAreGivenOnce) {
  const std::string second = Submit();
  const std::string third = Submit();
  const std::vector<Assignment> assignments = Sync(worker_);
  ASSERT_THAT(assignments, SizeIs(2));
  EXPECT_NE(assignments[0].device_ids(0), assignments[1].device_ids(0));
  EXPECT_EQ(StateOf(third), Job::QUEUED);
  const v1::Worker listed = scheduler_->ListWorkers().value()[0];
  EXPECT_EQ(listed.devices(0).job(), job_);
  EXPECT_EQ(listed.devices(1).job(), second);
}

TEST_F(SchedulerWorkerTest, WorkersAreListedByName) {
  FakeWorker other("0-first", 1);
  Sync(other);
  const std::vector<v1::Worker> workers = scheduler_->ListWorkers().value();
  ASSERT_THAT(workers, SizeIs(2));
  EXPECT_EQ(workers[0].name(), "workers/0-first");
  EXPECT_EQ(workers[1].name(), "workers/a");
}

TEST_F(SchedulerWorkerTest, NewModelOnAWorkerReleasesTheJobThatWaitedForIt) {
  Sync(worker_);
  FakeWorker other("b", 1, {"huge"});
  Sync(other);
  v1::FineTuneSpec spec = MakeSpec(2);
  spec.set_base_model("huge");
  const std::string waiting = Submit(spec);
  Sync(other);
  EXPECT_EQ(Get(waiting).schedule_reason().code(), "NO_DEVICES");
  v1::Device& device = *other.report().add_devices();
  device.set_id("cpu:1");
  device.set_kind("cpu");
  Sync(other);
  EXPECT_EQ(StateOf(waiting), Job::PREPARING);
}

}  // namespace
}  // namespace longlora::server
