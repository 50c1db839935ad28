// Goal: a job comes in once, durably, or is refused with nothing stored.
// Method: the scheduler on a real store; requests by hand.
#include "tests/server/scheduler/scheduler_fixture.h"

namespace longlora::server {
namespace {

class SchedulerSubmitTest : public SchedulerTest {
 protected:
  void SetUp() override {
    SchedulerTest::SetUp();
    Sync(worker_);
  }
  int64_t StoredJobs() {
    const auto jobs = store_->ListJobs({.limit = 1000});
    EXPECT_OK(jobs);
    return jobs.ok() ? static_cast<int64_t>(jobs->size()) : -1;
  }
  FakeWorker worker_{"a", 2};
};

TEST_F(SchedulerSubmitTest, AcceptedJobIsDurableAndQueued) {
  ASSERT_OK_AND_ASSIGN(const Job job, scheduler_->Submit({MakeSpec(1, "My Job!"), "", false}));
  EXPECT_EQ(job.name(), "fineTuneJobs/my-job-00000001");
  EXPECT_EQ(job.state(), Job::QUEUED);
  EXPECT_EQ(job.etag(), "1");
  EXPECT_EQ(job.last_event_sequence(), 1);
  EXPECT_OK(store_->ReadJob("my-job-00000001"));
}

TEST_F(SchedulerSubmitTest, RepeatGivesTheFirstJobAsItIsNow) {
  const std::string first = Submit(MakeSpec(), "wish");
  Sync(worker_);
  ASSERT_OK_AND_ASSIGN(const Job again, scheduler_->Submit({MakeSpec(), "wish", false}));
  EXPECT_EQ(again.name(), first);
  EXPECT_EQ(again.state(), Job::PREPARING);
  EXPECT_EQ(StoredJobs(), 1);
}

TEST_F(SchedulerSubmitTest, RepeatOfAFinalJobAndAfterARestartGivesIt) {
  const std::string first = Submit(MakeSpec(), "wish");
  ASSERT_OK(scheduler_->Ask(JobTrigger::kCancel, first, ""));
  EXPECT_EQ(Submit(MakeSpec(), "wish"), first);
  Restart();
  EXPECT_EQ(Submit(MakeSpec(), "wish"), first);
}

TEST_F(SchedulerSubmitTest, OtherSpecUnderTheSameRequestIdIsRefused) {
  const std::string first = Submit(MakeSpec(1), "wish");
  const auto other = scheduler_->Submit({MakeSpec(2), "wish", false});
  EXPECT_THAT(other, StatusIs(absl::StatusCode::kAlreadyExists, first));
  EXPECT_EQ(ReasonOf(other), "REQUEST_ID_REUSED");
  EXPECT_EQ(StoredJobs(), 1);
}

TEST_F(SchedulerSubmitTest, WithoutRequestIdEverySubmitIsAnotherJob) {
  EXPECT_NE(Submit(), Submit());
}

TEST_F(SchedulerSubmitTest, ValidateOnlyStoresNothing) {
  ASSERT_OK_AND_ASSIGN(const Job job, scheduler_->Submit({MakeSpec(), "wish", true}));
  EXPECT_EQ(job.name(), "");
  EXPECT_EQ(job.spec().base_model(), "tiny");
  EXPECT_EQ(StoredJobs(), 0);
  // The request_id is still free, for whatever spec.
  EXPECT_NE(Submit(MakeSpec(2), "wish"), "");
}

TEST_F(SchedulerSubmitTest, ModelThatNoWorkerHasIsRefused) {
  v1::FineTuneSpec spec = MakeSpec();
  spec.set_base_model("huge");
  for (const bool validate_only : {false, true}) {
    const auto refused = scheduler_->Submit({spec, "", validate_only});
    EXPECT_THAT(refused, StatusIs(absl::StatusCode::kFailedPrecondition, "workers have tiny"));
    EXPECT_EQ(ReasonOf(refused), "MODEL_UNAVAILABLE");
  }
  EXPECT_EQ(StoredJobs(), 0);
}

TEST_F(SchedulerSubmitTest, PathsMustLieBelowAnAllowedRoot) {
  worker_.report().add_allowed_roots("/models");
  Sync(worker_);
  v1::FineTuneSpec spec = MakeSpec();
  spec.set_base_model("/etc/passwd");
  EXPECT_THAT(scheduler_->Submit({spec, "", false}),
              StatusIs(absl::StatusCode::kFailedPrecondition, "workers allow /models"));
  spec.set_base_model("/models/../etc/passwd");
  EXPECT_EQ(ReasonOf(scheduler_->Submit({spec, "", false})), "MODEL_UNAVAILABLE");
  spec.set_base_model("/models/llama");
  EXPECT_OK(scheduler_->Submit({spec, "", false}));
  spec.mutable_method()->set_initial_adapter("/elsewhere/adapter");
  EXPECT_THAT(scheduler_->Submit({spec, "", false}),
              StatusIs(absl::StatusCode::kFailedPrecondition, "method.initial_adapter"));
}

TEST_F(SchedulerSubmitTest, ModelOfALostWorkerIsStillKnownAlsoAfterARestart) {
  clock_.Advance(WholeLease() * 2);
  scheduler_->Tick();
  EXPECT_NE(Submit(), "");
  Restart();
  EXPECT_NE(Submit(), "");
}

TEST_F(SchedulerSubmitTest, ForgottenWorkersModelIsUnknown) {
  clock_.Advance(options_.worker_retention + absl::Seconds(1));
  scheduler_->Tick();
  EXPECT_THAT(scheduler_->Submit({MakeSpec(), "", false}),
              StatusIs(absl::StatusCode::kFailedPrecondition, "no worker has connected"));
  Restart();
  EXPECT_EQ(ReasonOf(scheduler_->Submit({MakeSpec(), "", false})), "MODEL_UNAVAILABLE");
}

TEST_F(SchedulerSubmitTest, FullQueueRefusesMore) {
  options_.live_jobs_max = 2;
  Restart();
  Submit();
  const std::string second = Submit();
  EXPECT_EQ(ReasonOf(scheduler_->Submit({MakeSpec(), "", false})), "QUEUE_FULL");
  ASSERT_OK(scheduler_->Ask(JobTrigger::kCancel, second, ""));
  EXPECT_NE(Submit(), "");
}

TEST_F(SchedulerSubmitTest, JobsAreListedNewestFirstInPages) {
  std::vector<std::string> names;
  for (int i = 0; i < 5; ++i) names.push_back(Submit());
  ASSERT_OK_AND_ASSIGN(const JobPage page, scheduler_->ListJobs({.limit = 3}));
  ASSERT_THAT(page.jobs, SizeIs(3));
  EXPECT_EQ(page.jobs[0].name(), names[4]);
  ASSERT_OK_AND_ASSIGN(const JobPage rest,
                       scheduler_->ListJobs({.before_order = page.next_before_order, .limit = 3}));
  ASSERT_THAT(rest.jobs, SizeIs(2));
  EXPECT_EQ(rest.jobs[1].name(), names[0]);
  EXPECT_EQ(rest.next_before_order, 0);
}

TEST_F(SchedulerSubmitTest, WaitingJobSaysWhy) {
  const std::string running = Submit(MakeSpec(2));
  const std::string first = Submit(MakeSpec(2));
  const std::string second = Submit(MakeSpec(1));
  Sync(worker_);
  EXPECT_EQ(StateOf(running), Job::PREPARING);
  EXPECT_FALSE(Get(running).has_schedule_reason());
  EXPECT_EQ(Get(first).schedule_reason().code(), "WAITING_FOR_DEVICES");
  EXPECT_EQ(Get(first).schedule_reason().jobs_ahead(), 0);
  EXPECT_EQ(Get(second).schedule_reason().jobs_ahead(), 1);
  ASSERT_OK_AND_ASSIGN(const JobPage page, scheduler_->ListJobs({}));
  EXPECT_EQ(page.jobs[0].schedule_reason().code(), "WAITING_FOR_DEVICES");
  EXPECT_FALSE(page.jobs[2].has_schedule_reason());
  const std::string too_big = Submit(MakeSpec(3));
  scheduler_->Tick();
  EXPECT_EQ(Get(too_big).schedule_reason().code(), "NO_DEVICES");
}

TEST_F(SchedulerSubmitTest, UnknownAndMalformedNamesAreRefused) {
  EXPECT_EQ(ReasonOf(scheduler_->GetJob("fineTuneJobs/none-1")), "JOB_NOT_FOUND");
  EXPECT_EQ(ReasonOf(scheduler_->GetJob("none")), "NAME_INVALID");
  EXPECT_EQ(ReasonOf(scheduler_->ListCheckpoints("fineTuneJobs/none-1")), "JOB_NOT_FOUND");
  EXPECT_EQ(ReasonOf(scheduler_->ListResults("fineTuneJobs/none-1")), "JOB_NOT_FOUND");
  EXPECT_EQ(ReasonOf(scheduler_->FindArtifact("fineTuneJobs/none-1", "x")), "JOB_NOT_FOUND");
}

TEST_F(SchedulerTest, WithoutAnyWorkerSubmitSaysSo) {
  EXPECT_THAT(scheduler_->Submit({MakeSpec(), "", false}),
              StatusIs(absl::StatusCode::kFailedPrecondition, "no worker has connected"));
}

// Every look at it takes a millisecond, so a placement does, too.
class SlowClock : public common::FakeClock {
 public:
  common::MonotonicTime MonotonicNow() override {
    Advance(absl::Milliseconds(1));
    return FakeClock::MonotonicNow();
  }
};

TEST_F(SchedulerSubmitTest, PlacementRestsNineTimesAsLongAsItTook) {
  SlowClock clock;
  ASSERT_OK_AND_ASSIGN(scheduler_,
                       Scheduler::Create(options_, {store_.get(), &hub_, &clock, &ids_}));
  FakeWorker worker("slow", 2);
  const std::string first = Submit();
  EXPECT_THAT(Sync(worker), SizeIs(1));
  const std::string second = Submit();
  EXPECT_THAT(Sync(worker), SizeIs(1)) << "too soon after the last placement";
  clock.Advance(absl::Milliseconds(20));
  EXPECT_THAT(Sync(worker), SizeIs(2));
  scheduler_.reset();  // before its clock
}

}  // namespace
}  // namespace longlora::server
