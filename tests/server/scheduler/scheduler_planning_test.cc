// Goal: a plan is made of what was; what is no longer so when it comes to be done is not done.
// Method: the scheduler on a real store; what may come between happens where it says that it may.
#include <functional>
#include <thread>
#include <utility>

#include "common/threads/threads.h"
#include "tests/server/scheduler/scheduler_fixture.h"

namespace longlora::server {
namespace {

// The machine's threads, and somebody who comes between once.
class Interloper : public common::Threads {
 public:
  Interloper() { common::Threads::Replace(this); }
  ~Interloper() override { common::Threads::Replace(nullptr); }
  std::unique_ptr<Running> Start(std::function<void()> body) override {
    return machine_.Start(std::move(body));
  }
  bool Await(absl::Mutex* mutex, const absl::Condition& condition,
             absl::Duration timeout) override ABSL_NO_THREAD_SAFETY_ANALYSIS {
    return machine_.Await(mutex, condition, timeout);
  }
  void Yield() override {
    if (next != nullptr) std::exchange(next, nullptr)();
  }

  std::function<void()> next;

 private:
  common::Threads& machine_ = common::Threads::Current();
};

class SchedulerPlanningTest : public SchedulerWorkerFixture {
 protected:
  // Before between_ ends: their threads wait through it.
  void TearDown() override {
    scheduler_.reset();
    store_.reset();
  }
  // A report is taken in at once, though its answer waits for the plan.
  void AwaitReportOf(const std::string& device) {
    while (scheduler_->ListWorkers()->front().devices(0).id() != device) std::this_thread::yield();
  }
  Interloper between_;
};

TEST_F(SchedulerPlanningTest, AJobCancelledMeanwhileIsNotAssigned) {
  const std::string job = Submit();
  between_.next = [&] { ASSERT_OK(scheduler_->Ask(JobTrigger::kCancel, job, "")); };
  scheduler_->Tick();
  EXPECT_EQ(StateOf(job), Job::CANCELLED);
  EXPECT_THAT(Sync(worker_), IsEmpty());
}

TEST_F(SchedulerPlanningTest, DevicesPlannedForAJobThatLeavesAreForTheNext) {
  const std::string job = Submit();
  const std::string next = Submit();
  between_.next = [&] { ASSERT_OK(scheduler_->Ask(JobTrigger::kCancel, job, "")); };
  scheduler_->Tick();
  EXPECT_EQ(StateOf(next), Job::QUEUED);
  scheduler_->Tick();
  EXPECT_EQ(StateOf(next), Job::PREPARING);
}

TEST_F(SchedulerPlanningTest, AJobThatCameToWaitAgainIsPlannedAgain) {
  const std::string job = Submit();
  between_.next = [&] {
    ASSERT_OK(scheduler_->Ask(JobTrigger::kPause, job, ""));
    ASSERT_OK(scheduler_->Ask(JobTrigger::kResume, job, ""));
  };
  scheduler_->Tick();
  EXPECT_EQ(StateOf(job), Job::QUEUED);
  scheduler_->Tick();
  EXPECT_EQ(StateOf(job), Job::PREPARING);
}

TEST_F(SchedulerPlanningTest, NothingIsAssignedToAWorkerThatWasCordonedMeanwhile) {
  const std::string job = Submit();
  between_.next = [&] { ASSERT_OK(scheduler_->SetScheduling("workers/a", v1::Worker::CORDONED)); };
  scheduler_->Tick();
  EXPECT_EQ(StateOf(job), Job::QUEUED);
  scheduler_->Tick();
  EXPECT_EQ(Get(job).schedule_reason().code(), "NO_WORKER");
}

TEST_F(SchedulerPlanningTest, DevicesThatTheWorkerNoLongerHasAreNotAssigned) {
  Submit();
  std::thread reporting;
  between_.next = [&] {
    worker_.report().mutable_devices(0)->set_id("cpu:other");
    reporting = std::thread([&] { Sync(worker_); });
    AwaitReportOf("cpu:other");
  };
  scheduler_->Tick();
  reporting.join();
  const std::vector<Assignment> assignments = Sync(worker_);
  ASSERT_THAT(assignments, SizeIs(1));
  EXPECT_THAT(assignments[0].device_ids(), ElementsAre("cpu:other"));
}

TEST_F(SchedulerPlanningTest, WhoLeavesMeanwhileIsNotCountedAsWaiting) {
  const std::string running = StartJob();
  const std::string waiting = Submit();
  const std::string leaving = Submit();
  const auto counted = [&] {
    return scheduler_->Snapshot().queued_by_reason.at("WAITING_FOR_DEVICES");
  };
  between_.next = [&] { ASSERT_OK(scheduler_->Ask(JobTrigger::kCancel, leaving, "")); };
  scheduler_->Tick();
  EXPECT_EQ(counted(), 1);
  ASSERT_OK_AND_ASSIGN(QueuedJobPage page, scheduler_->ListQueuedJobs("", 0, 10));
  ASSERT_THAT(page.jobs, SizeIs(1));
  EXPECT_EQ(page.jobs[0].job(), waiting);
  // A new stay, which no placement has seen.
  ASSERT_OK(scheduler_->Ask(JobTrigger::kPause, waiting, ""));
  ASSERT_OK(scheduler_->Ask(JobTrigger::kResume, waiting, ""));
  EXPECT_EQ(counted(), 0);
  ASSERT_OK_AND_ASSIGN(page, scheduler_->ListQueuedJobs("", 0, 10));
  EXPECT_THAT(page.jobs, IsEmpty());
}

TEST_F(SchedulerPlanningTest, NobodyMakesRoomForAJobThatLeavesMeanwhile) {
  QueueConfig research;
  research.quotas["cpu"] = {1, 0};
  options_.queues.queues["research"] = research;
  options_.queues.min_run_time = absl::ZeroDuration();
  Restart();
  Sync(worker_);
  const std::string borrower = StartJob();
  v1::FineTuneSpec spec = MakeSpec();
  spec.set_queue("research");
  const std::string job = Submit(spec);
  between_.next = [&] { ASSERT_OK(scheduler_->Ask(JobTrigger::kPause, job, "")); };
  scheduler_->Tick();
  EXPECT_FALSE(Get(borrower).attempts(0).has_eviction());
  Submit(spec);
  scheduler_->Tick();
  EXPECT_TRUE(Get(borrower).attempts(0).has_eviction());
}

TEST_F(SchedulerPlanningTest, AProcessThatLostItsNameMeanwhileIsToldNothing) {
  Submit();
  FakeWorker newer = worker_;
  newer.Restart("second");
  newer.report().mutable_devices(0)->set_id("cpu:other");
  std::thread reporting;
  between_.next = [&] {
    reporting = std::thread([&] { EXPECT_THAT(Sync(newer), SizeIs(1)); });
    AwaitReportOf("cpu:other");
  };
  EXPECT_THAT(scheduler_->Synchronize(worker_.report()),
              StatusIs(absl::StatusCode::kUnavailable, "another process"));
  reporting.join();
}

// Users are answered while a plan is being made, and a worker's report waits for it, so that the
// answer has what was planned.
TEST_F(SchedulerPlanningTest, AReportWaitsForThePlanThatIsUnderWay) {
  const std::string job = Submit();
  std::vector<Assignment> assignments;
  std::thread reporting;
  between_.next = [&] {
    EXPECT_EQ(StateOf(job), Job::QUEUED);
    reporting = std::thread([&] { assignments = Sync(worker_); });
  };
  scheduler_->Tick();
  reporting.join();
  EXPECT_THAT(assignments, SizeIs(1));
}

}  // namespace
}  // namespace longlora::server
