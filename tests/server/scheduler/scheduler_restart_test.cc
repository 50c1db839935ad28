// Goal: a server that dies at any moment and comes back goes on as if nothing had happened.
// Method: a new scheduler on the same store; the workers do not notice but for the pause.
#include "tests/server/scheduler/scheduler_fixture.h"

namespace longlora::server {
namespace {

class SchedulerRestartTest : public SchedulerTest {
 protected:
  void SetUp() override {
    SchedulerTest::SetUp();
    Sync(worker_);
    job_ = Submit();
    Sync(worker_);
    Accept(worker_, job_, 1);
    Prepare(worker_, job_, 1);
  }
  absl::StatusOr<int64_t> Steps(int64_t first, int count) {
    auto request = MakeEvents("a", job_, 1);
    for (int i = 0; i < count; ++i) AddStep(request, first + i, first + i - 1);
    return scheduler_->RecordEvents(request);
  }
  FakeWorker worker_{"a", 1};
  std::string job_;
};

TEST_F(SchedulerRestartTest, RunningJobGoesOnInTheSameAttempt) {
  ASSERT_OK(Steps(2, 3));
  const Job before = Get(job_);
  Restart();
  const Job after = Get(job_);
  EXPECT_EQ(after.SerializeAsString(), before.SerializeAsString());
  const std::vector<Assignment> assignments = Sync(worker_);
  ASSERT_THAT(assignments, SizeIs(1));
  EXPECT_EQ(assignments[0].attempt(), 1);
  EXPECT_EQ(assignments[0].acknowledged_sequence(), 4);
}

TEST_F(SchedulerRestartTest, EventsSentAgainAfterTheRestartAreNeitherLostNorDoubled) {
  ASSERT_OK(Steps(2, 3));
  Restart();
  ASSERT_OK_AND_ASSIGN(const int64_t acknowledged, Steps(2, 5));  // the worker missed the answer
  EXPECT_EQ(acknowledged, 6);
  std::vector<int64_t> steps;
  for (const v1::JobEvent& event : Events(job_)) {
    if (event.has_step()) steps.push_back(event.step().step());
  }
  EXPECT_THAT(steps, ElementsAre(1, 2, 3, 4, 5));
  EXPECT_EQ(Get(job_).progress().tokens(), 5000);
}

TEST_F(SchedulerRestartTest, WorkerGetsAFreshLeaseToReportIn) {
  clock_.Advance(WholeLease() * 10);  // the server was away for long
  Restart();
  scheduler_->Tick();
  EXPECT_EQ(StateOf(job_), Job::RUNNING);
  EXPECT_EQ(scheduler_->ListWorkers().value()[0].state(), v1::Worker::LOST);  // not heard of yet
  clock_.Advance(WholeLease() - absl::Milliseconds(1));
  scheduler_->Tick();
  EXPECT_EQ(StateOf(job_), Job::RUNNING);
  clock_.Advance(absl::Milliseconds(1));
  scheduler_->Tick();
  EXPECT_EQ(StateOf(job_), Job::QUEUED);
}

TEST_F(SchedulerRestartTest, DevicesOfAnUnheardWorkerAreNotGivenAway) {
  const std::string second = Submit();
  Restart();
  scheduler_->Tick();
  EXPECT_EQ(Get(second).schedule_reason().code(), "NO_WORKER");
  Sync(worker_);
  EXPECT_EQ(Get(second).schedule_reason().code(), "WAITING_FOR_DEVICES");
}

TEST_F(SchedulerRestartTest, BothRestartedTheAttemptIsLostOnce) {
  Restart();
  worker_.Restart("second");
  Sync(worker_);
  EXPECT_EQ(Get(job_).attempts(0).failure().reason(), "WORKER_RESTARTED");
  EXPECT_EQ(Get(job_).attempts_size(), 1);
  Restart();
  clock_.Advance(options_.back_off.initial);
  ASSERT_THAT(Sync(worker_), SizeIs(1));
  EXPECT_EQ(Get(job_).attempts_size(), 2);
}

TEST_F(SchedulerRestartTest, EndReportedWhileTheServerWasAwayIsTakenIn) {
  ASSERT_OK(CommitResults(worker_, job_, 1));
  worker_.Has(job_, 1, AttemptStatus::SUCCEEDED);
  Restart();
  EXPECT_THAT(Sync(worker_), IsEmpty());
  EXPECT_EQ(StateOf(job_), Job::SUCCEEDED);
  Restart();
  EXPECT_EQ(StateOf(job_), Job::SUCCEEDED);
  EXPECT_THAT(Sync(worker_), IsEmpty());
}

TEST_F(SchedulerRestartTest, QueueKeepsItsOrder) {
  std::vector<std::string> queued;
  for (int i = 0; i < 3; ++i) queued.push_back(Submit());
  Restart();
  const std::string last = Submit();
  ASSERT_OK(CommitResults(worker_, job_, 1));
  worker_.Has(job_, 1, AttemptStatus::SUCCEEDED);
  const std::vector<Assignment> assignments = Sync(worker_);
  ASSERT_THAT(assignments, SizeIs(1));
  EXPECT_EQ(assignments[0].job(), queued[0]);
  EXPECT_EQ(Get(last).schedule_reason().jobs_ahead(), 2);
}

TEST_F(SchedulerRestartTest, CountsGoOn) {
  const std::string cancelled = Submit();
  ASSERT_OK(scheduler_->Ask(JobTrigger::kCancel, cancelled, ""));
  Restart();
  const SchedulerSnapshot snapshot = scheduler_->Snapshot();
  EXPECT_EQ(snapshot.jobs_by_state.at(Job::RUNNING), 1);
  EXPECT_EQ(snapshot.jobs_by_state.at(Job::CANCELLED), 1);
  EXPECT_EQ(snapshot.jobs_by_state.at(Job::QUEUED), 0);
}

}  // namespace
}  // namespace longlora::server
