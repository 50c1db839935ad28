// Goal: queues hold what their operator promised, across preemption and restarts, and say so.
// Method: the scheduler on a real store; the workers' side is played by hand.
#include "server/scheduler/device_ledger.h"
#include "server/store/timestamps.h"
#include "tests/server/scheduler/scheduler_fixture.h"

namespace longlora::server {
namespace {

v1::FineTuneSpec QueueSpec(const std::string& queue, int devices = 1, int priority = 0) {
  v1::FineTuneSpec spec = MakeSpec(devices);
  spec.set_queue(queue);
  spec.set_priority(priority);
  return spec;
}

// Queue "research" with two cpu devices of its own and one to borrow; "default" has none.
class SchedulerQueueTest : public SchedulerTest {
 protected:
  void SetUp() override {
    QueueConfig research;
    research.quotas["cpu"] = {2, 1};
    research.max_duration = absl::Hours(2);
    options_.queues.queues["research"] = research;
    options_.queues.min_run_time = absl::Minutes(10);
    SchedulerTest::SetUp();
    Sync(worker_);
  }
  // A running job of `queue` in its first attempt.
  std::string Start(const v1::FineTuneSpec& spec) {
    const std::string job = Submit(spec);
    Sync(worker_);
    Accept(worker_, job, 1);
    Prepare(worker_, job, 1);
    return job;
  }
  void Stop(const std::string& job, int32_t attempt = 1) {
    worker_.Has(job, attempt, AttemptStatus::STOPPED);
    Sync(worker_);
    worker_.Forget(job);
  }
  // Time passes, and the worker keeps its lease.
  void Pass(absl::Duration duration) {
    for (absl::Duration left = duration; left > absl::ZeroDuration(); left -= absl::Seconds(20)) {
      clock_.Advance(std::min(left, absl::Seconds(20)));
      Sync(worker_);
    }
    scheduler_->Tick();
  }
  v1::Queue Queue(const std::string& name) {
    for (const v1::Queue& queue : scheduler_->ListQueues()) {
      if (queue.name() == "queues/" + name) return queue;
    }
    ADD_FAILURE() << "no queue " << name;
    return v1::Queue();
  }
  FakeWorker worker_{"a", 3};
};

TEST_F(SchedulerQueueTest, WhatAQueueCannotGiveIsRefusedWithTheField) {
  const auto refused = [&](const v1::FineTuneSpec& spec, const std::string& field,
                           const std::string& text) {
    const absl::Status status = scheduler_->Submit({spec, "", false}).status();
    EXPECT_THAT(status, StatusIs(absl::StatusCode::kInvalidArgument, text));
    const rpc::ErrorDetails details = rpc::GetErrorDetails(status);
    EXPECT_EQ(details.reason, "SPEC_INVALID");
    ASSERT_THAT(details.violations, SizeIs(1));
    EXPECT_EQ(details.violations[0].field, field);
  };
  refused(QueueSpec("reserch"), "queue", "this server has default, research");
  refused(QueueSpec("research", 4), "resources.devices_per_node", "may use 3 at most");
  v1::FineTuneSpec too_long = QueueSpec("research");
  too_long.mutable_resources()->set_max_duration_seconds(3 * 3600);
  refused(too_long, "resources.max_duration_seconds", "2h");
  EXPECT_THAT(scheduler_->Submit({QueueSpec("research", 3), "", false}), IsOk());
}

TEST_F(SchedulerQueueTest, AJobThatWaitsForItsQueueIsTold) {
  FakeWorker other("b", 8);
  Sync(other);
  for (int i = 0; i < 3; ++i) Submit(QueueSpec("research"));
  const std::string fourth = Submit(QueueSpec("research"));
  Sync(other);
  const v1::ScheduleReason reason = Get(fourth).schedule_reason();
  EXPECT_EQ(reason.code(), "WAITING_FOR_QUOTA");
  EXPECT_THAT(reason.message(), HasSubstr("queue research uses 3 cpu device(s) and may use 3"));
  const v1::Queue queue = Queue("research");
  ASSERT_THAT(queue.quotas(), SizeIs(1));
  EXPECT_EQ(queue.quotas(0).used(), 3);
  EXPECT_EQ(queue.quotas(0).nominal(), 2);
  EXPECT_EQ(queue.quotas(0).borrowing_limit(), 1);
  EXPECT_EQ(queue.running_job_count(), 3);
  EXPECT_EQ(queue.queued_job_count(), 1);
  EXPECT_TRUE(queue.configured());
  EXPECT_GT(queue.weighted_usage(), 0.0);
  ASSERT_OK(scheduler_->Ask(JobTrigger::kCancel, fourth, ""));
  EXPECT_EQ(Queue("research").queued_job_count(), 0);
}

TEST_F(SchedulerQueueTest, BorrowedDevicesGoBackAndTheBorrowerGoesOnWithoutAFailure) {
  options_.failed_attempts_max = 1;  // a preemption must not count
  Restart();
  Sync(worker_);
  const std::string saved = Start(QueueSpec("default"));
  const std::string unsaved = Start(QueueSpec("default"));
  Start(QueueSpec("default"));
  Pass(absl::Minutes(9));
  ASSERT_OK(CommitCheckpoint(worker_, saved, 1, 7));
  const std::string mine = Submit(QueueSpec("research"));
  Sync(worker_);
  EXPECT_FALSE(Get(saved).attempts(0).has_eviction()) << "younger than min_run_time";
  Pass(absl::Minutes(2));
  ASSERT_TRUE(Get(saved).attempts(0).has_eviction());
  EXPECT_EQ(Get(saved).attempts(0).eviction().reason(), "PREEMPTED");
  EXPECT_THAT(Get(saved).attempts(0).eviction().message(), HasSubstr(mine));
  EXPECT_FALSE(Get(unsaved).attempts(0).has_eviction());
  EXPECT_EQ(StateOf(mine), Job::QUEUED);
  Stop(saved);
  EXPECT_EQ(Get(saved).attempts(0).state(), v1::Attempt::EVICTED);
  EXPECT_EQ(StateOf(saved), Job::QUEUED);
  EXPECT_EQ(StateOf(mine), Job::PREPARING);
  EXPECT_EQ(scheduler_->Snapshot().counters.jobs_preempted, 1);
  // It comes back when there is room.
  Stop(unsaved);  // its worker gave it up: a failure, and the last
  EXPECT_EQ(StateOf(unsaved), Job::FAILED);
  Sync(worker_);
  EXPECT_EQ(StateOf(saved), Job::PREPARING);
  EXPECT_EQ(Get(saved).attempts(1).start_step(), 7);
}

TEST_F(SchedulerQueueTest, PastUsageDecidesAlsoAfterARestart) {
  const std::string long_run = Start(QueueSpec("research"));
  Pass(absl::Hours(1));
  ASSERT_OK(CommitResults(worker_, long_run, 1));
  worker_.Has(long_run, 1, AttemptStatus::SUCCEEDED);
  Sync(worker_);
  worker_.Forget(long_run);
  const double used = Queue("research").weighted_usage();
  EXPECT_NEAR(used, 3600.0, 30.0);
  Restart();
  EXPECT_NEAR(Queue("research").weighted_usage(), used, 1e-6);
  EXPECT_EQ(Queue("default").weighted_usage(), 0.0);
}

TEST_F(SchedulerQueueTest, WaitingJobsAreListedInTheirOrderPageByPage) {
  const std::string running = Start(QueueSpec("default", 3));
  const std::string low = Submit(QueueSpec("default", 1, -1));
  const std::string high = Submit(QueueSpec("default", 2, 5));
  const std::string other = Submit(QueueSpec("research", 3));
  scheduler_->Tick();
  clock_.Advance(absl::Seconds(1));
  ASSERT_OK_AND_ASSIGN(QueuedJobPage page, scheduler_->ListQueuedJobs("", 0, 2));
  ASSERT_THAT(page.jobs, SizeIs(2));
  EXPECT_EQ(page.next_offset, 2);
  EXPECT_EQ(page.jobs[0].place(), 1);
  ASSERT_OK_AND_ASSIGN(const QueuedJobPage rest, scheduler_->ListQueuedJobs("", 2, 2));
  ASSERT_THAT(rest.jobs, SizeIs(1));
  EXPECT_EQ(rest.next_offset, 0);
  EXPECT_EQ(rest.jobs[0].place(), 3);
  ASSERT_OK_AND_ASSIGN(page, scheduler_->ListQueuedJobs("default", 0, 50));
  ASSERT_THAT(page.jobs, SizeIs(2));
  EXPECT_EQ(page.jobs[0].job(), high);
  EXPECT_EQ(page.jobs[0].priority(), 5);
  EXPECT_EQ(page.jobs[0].device_count(), 2);
  EXPECT_EQ(page.jobs[0].device_kind(), "cpu");
  EXPECT_EQ(page.jobs[0].reason().code(), "WAITING_FOR_DEVICES");
  EXPECT_EQ(page.jobs[1].job(), low);
  EXPECT_EQ(ReasonOf(scheduler_->ListQueuedJobs("nobody", 0, 50)), "QUEUE_NOT_FOUND");
}

TEST_F(SchedulerQueueTest, AStartIsEstimatedFromWhatRuns) {
  const std::string running = Start(QueueSpec("default", 3));
  const std::string next = Submit(QueueSpec("default", 2));
  scheduler_->Tick();
  EXPECT_FALSE(Get(next).schedule_reason().has_estimated_start_time()) << "no step was made yet";
  auto request = MakeEvents("a", running, 1);
  AddStep(request, 2, 1);  // 1000 tokens at 500 a second, and nine steps to go
  ASSERT_OK(scheduler_->RecordEvents(request));
  Submit(QueueSpec("default", 2, -5));  // makes another pass due
  clock_.Advance(absl::Seconds(1));
  scheduler_->Tick();
  const v1::ScheduleReason reason = Get(next).schedule_reason();
  ASSERT_TRUE(reason.has_estimated_start_time());
  EXPECT_EQ(FromTimestamp(reason.estimated_start_time()), clock_.Now() + absl::Seconds(18));
}

TEST_F(SchedulerQueueTest, RanksThatAreNotReadyInTimeAreTakenBack) {
  const std::string job = Submit(QueueSpec("default"));
  Sync(worker_);
  Accept(worker_, job, 1);
  Pass(options_.ready_timeout - absl::Minutes(1));
  EXPECT_FALSE(Get(job).attempts(0).has_eviction());
  Pass(absl::Minutes(2));
  EXPECT_EQ(Get(job).attempts(0).eviction().reason(), "READY_TIMEOUT");
  EXPECT_EQ(Sync(worker_)[0].desired(), Assignment::PAUSE);
  Stop(job);
  EXPECT_EQ(Get(job).attempts(0).failure().reason(), "READY_TIMEOUT");
  EXPECT_TRUE(Get(job).attempts(0).failure().retried());
  EXPECT_EQ(StateOf(job), Job::QUEUED);
}

TEST_F(SchedulerQueueTest, AJobEndsWhenItHadItsTimeCountingEveryAttempt) {
  v1::FineTuneSpec spec = QueueSpec("research");
  spec.mutable_resources()->set_max_duration_seconds(3600);
  const std::string job = Start(spec);
  Pass(absl::Minutes(40));
  ASSERT_OK(scheduler_->Ask(JobTrigger::kPause, job, ""));
  Stop(job);
  Pass(absl::Hours(5));  // paused: holds nothing
  ASSERT_OK(scheduler_->Ask(JobTrigger::kResume, job, ""));
  Sync(worker_);
  Accept(worker_, job, 2);
  Prepare(worker_, job, 2);
  Pass(absl::Minutes(19));
  EXPECT_FALSE(Get(job).attempts(1).has_eviction());
  Restart();  // the clock of the attempt goes on
  Pass(absl::Minutes(2));
  EXPECT_EQ(Get(job).attempts(1).eviction().reason(), "MAX_DURATION_EXCEEDED");
  ASSERT_OK(CommitCheckpoint(worker_, job, 2, 9));
  Stop(job, 2);
  EXPECT_EQ(StateOf(job), Job::FAILED);
  EXPECT_EQ(Get(job).failure().reason(), "MAX_DURATION_EXCEEDED");
  EXPECT_EQ(Get(job).failure().fault(), v1::Failure::JOB);
}

TEST_F(SchedulerQueueTest, AQueueThatIsNoLongerConfiguredKeepsItsJobsWaiting) {
  const std::string job = Submit(QueueSpec("research"));
  options_.queues.queues.erase("research");
  Restart();
  Sync(worker_);
  EXPECT_EQ(Get(job).schedule_reason().code(), "NO_QUEUE");
  EXPECT_FALSE(Queue("research").configured());
  ASSERT_OK(scheduler_->Ask(JobTrigger::kCancel, job, ""));
  EXPECT_EQ(StateOf(job), Job::CANCELLED);
}

TEST_F(SchedulerQueueTest, LabelsChooseTheWorker) {
  v1::FineTuneSpec spec = MakeSpec();
  spec.mutable_resources()->add_worker_labels("gpu=h100");
  const std::string job = Submit(spec);
  Sync(worker_);
  EXPECT_EQ(Get(job).schedule_reason().code(), "NO_MODEL");
  EXPECT_THAT(Get(job).schedule_reason().message(), HasSubstr("labels"));
  FakeWorker labelled("b", 1);
  labelled.report().add_labels("zone=a");
  labelled.report().add_labels("gpu=h100");
  EXPECT_THAT(Sync(labelled), SizeIs(1));
  EXPECT_THAT(scheduler_->ListWorkers().value()[1].labels(), ElementsAre("gpu=h100", "zone=a"));
  labelled.report().add_labels("no label");
  EXPECT_EQ(ReasonOf(scheduler_->Synchronize(labelled.report())), "WORKER_INVALID");
}

TEST_F(SchedulerQueueTest, TheLedgerIsTheTimeThatDevicesWereHeld) {
  const std::string job = Submit(QueueSpec("research", 2));
  Sync(worker_);
  const auto report = [&](int32_t attempt, int64_t sequence, int64_t step) {
    auto request = MakeEvents("a", job, attempt);
    if (step == 0) AddPrepared(request, sequence);
    if (step > 0) AddStep(request, sequence, step);  // of two seconds
    *request.mutable_events(0)->mutable_event()->mutable_event_time() = ToTimestamp(clock_.Now());
    ASSERT_OK(scheduler_->RecordEvents(request));
  };
  Accept(worker_, job, 1);
  clock_.Advance(absl::Seconds(5));
  report(1, 1, 0);
  clock_.Advance(absl::Seconds(2));
  report(1, 2, 1);
  clock_.Advance(absl::Seconds(3));
  report(1, 3, 2);
  const v1::DeviceLedger so_far = Get(job).ledger();
  EXPECT_DOUBLE_EQ(TotalOf(so_far), 20);
  EXPECT_DOUBLE_EQ(so_far.preparing(), 10);
  EXPECT_DOUBLE_EQ(so_far.training(), 8);
  EXPECT_DOUBLE_EQ(so_far.stalled(), 2);
  EXPECT_DOUBLE_EQ(TotalOf(Queue("research").ledger()), 20);
  clock_.Advance(absl::Seconds(4));
  worker_.Has(job, 1, AttemptStatus::FAILED, "TRAINER_CRASHED");
  Sync(worker_);
  worker_.Forget(job);
  EXPECT_DOUBLE_EQ(TotalOf(Get(job).attempts(0).ledger()), 28);
  Restart();
  Sync(worker_);
  clock_.Advance(absl::Seconds(10));
  Sync(worker_);
  clock_.Advance(absl::Seconds(1));
  report(2, 1, 0);
  clock_.Advance(absl::Seconds(2));
  report(2, 2, 1);
  EXPECT_DOUBLE_EQ(Get(job).ledger().recomputed(), 4) << "the first attempt had made step 1";
  ASSERT_OK(CommitResults(worker_, job, 2));
  worker_.Has(job, 2, AttemptStatus::SUCCEEDED);
  Sync(worker_);
  double held = 0.0;
  const Job ended = Get(job);
  for (const v1::Attempt& attempt : ended.attempts()) {
    held += 2 * absl::ToDoubleSeconds(FromTimestamp(attempt.end_time()) -
                                      FromTimestamp(attempt.start_time()));
  }
  EXPECT_NEAR(TotalOf(ended.ledger()), held, 1e-6);
}

}  // namespace
}  // namespace longlora::server
