// Goal: what an attempt sends is stored once, in order, and only from the present attempt; a job
// succeeds when its results are committed and fails or retries by its failure's reason. Method: the
// scheduler on a real store; the worker's side is played by hand.
#include "tests/server/scheduler/scheduler_fixture.h"

namespace longlora::server {
namespace {

class SchedulerAttemptsTest : public SchedulerTest {
 protected:
  void SetUp() override {
    SchedulerTest::SetUp();
    Sync(worker_);
    job_ = Submit();
    Sync(worker_);
    Accept(worker_, job_, 1);
  }
  absl::StatusOr<int64_t> Steps(int64_t first_sequence, int count, int32_t attempt = 1,
                                const std::string& worker = "a") {
    auto request = MakeEvents(worker, job_, attempt);
    for (int i = 0; i < count; ++i) AddStep(request, first_sequence + i, first_sequence + i);
    return scheduler_->RecordEvents(request);
  }
  int StepEvents() {
    int count = 0;
    for (const v1::JobEvent& event : Events(job_)) count += event.has_step();
    return count;
  }
  // The present attempt fails; its worker and the clock go on to the next.
  void FailAttempt(int32_t attempt, const std::string& reason) {
    worker_.Has(job_, attempt, AttemptStatus::FAILED, reason);
    Sync(worker_);
    worker_.Forget(job_);
    clock_.Advance(options_.back_off.maximum);
    Sync(worker_);
  }
  FakeWorker worker_{"a", 1};
  std::string job_;
};

TEST_F(SchedulerAttemptsTest, WholeLifeOfAJob) {
  Prepare(worker_, job_, 1);
  EXPECT_EQ(StateOf(job_), Job::RUNNING);
  ASSERT_OK_AND_ASSIGN(const int64_t acknowledged, Steps(2, 3));
  EXPECT_EQ(acknowledged, 4);
  EXPECT_EQ(Get(job_).progress().step(), 4);
  EXPECT_EQ(Get(job_).progress().total_steps(), 10);
  ASSERT_OK(CommitResults(worker_, job_, 1));
  EXPECT_EQ(StateOf(job_), Job::RUNNING);  // its worker may still have something to send
  ASSERT_OK_AND_ASSIGN(const auto early, scheduler_->ListResults(job_));
  EXPECT_THAT(early, IsEmpty());
  worker_.Has(job_, 1, AttemptStatus::SUCCEEDED);
  EXPECT_THAT(Sync(worker_), IsEmpty());
  const Job job = Get(job_);
  EXPECT_EQ(job.state(), Job::SUCCEEDED);
  EXPECT_EQ(job.attempts(0).state(), v1::Attempt::SUCCEEDED);
  EXPECT_TRUE(job.has_end_time());
  ASSERT_OK_AND_ASSIGN(const auto results, scheduler_->ListResults(job_));
  EXPECT_THAT(results, SizeIs(1));
  ASSERT_OK_AND_ASSIGN(const OwnedArtifact found,
                       scheduler_->FindArtifact(job_, "adapter/adapter_model.safetensors"));
  EXPECT_EQ(found.attempt, 1);
  EXPECT_THAT(StateHistory(job_),
              ElementsAre(Job::QUEUED, Job::PREPARING, Job::RUNNING, Job::SUCCEEDED));
  // The last event is the final state, so that a watcher knows the end.
  EXPECT_TRUE(Events(job_).back().has_state_changed());
}

TEST_F(SchedulerAttemptsTest, RepeatedEventsAreStoredOnce) {
  ASSERT_OK(Steps(1, 3));
  ASSERT_OK_AND_ASSIGN(const int64_t same, Steps(1, 3));
  EXPECT_EQ(same, 3);
  ASSERT_OK_AND_ASSIGN(const int64_t overlapping, Steps(2, 4));
  EXPECT_EQ(overlapping, 5);
  EXPECT_EQ(StepEvents(), 5);
  EXPECT_EQ(Get(job_).progress().tokens(), 5000);
}

TEST_F(SchedulerAttemptsTest, GapIsRefusedAndSaysWhereToGoOn) {
  ASSERT_OK(Steps(1, 2));
  const auto gap = Steps(4, 1);
  EXPECT_THAT(gap, StatusIs(absl::StatusCode::kOutOfRange, "send from 3"));
  EXPECT_EQ(ReasonOf(gap), "SEQUENCE_GAP");
  EXPECT_EQ(rpc::GetErrorDetails(gap.status()).metadata.at("acknowledged_sequence"), "2");
  auto inside = MakeEvents("a", job_, 1);
  AddStep(inside, 3, 3);
  AddStep(inside, 5, 5);
  EXPECT_EQ(ReasonOf(scheduler_->RecordEvents(inside)), "SEQUENCE_GAP");
  EXPECT_EQ(StepEvents(), 2);
}

TEST_F(SchedulerAttemptsTest, AssignmentTellsTheAcknowledgedSequence) {
  ASSERT_OK(Steps(1, 7));
  EXPECT_EQ(Sync(worker_)[0].acknowledged_sequence(), 7);
}

TEST_F(SchedulerAttemptsTest, ServersOwnEventsAreRefusedFromAWorker) {
  auto request = MakeEvents("a", job_, 1);
  request.add_events()->set_sequence(1);
  request.mutable_events(0)->mutable_event()->mutable_state_changed()->set_state(Job::SUCCEEDED);
  EXPECT_EQ(ReasonOf(scheduler_->RecordEvents(request)), "EVENT_INVALID");
  request.mutable_events(0)->mutable_event()->mutable_checkpoint();
  EXPECT_EQ(ReasonOf(scheduler_->RecordEvents(request)), "EVENT_INVALID");
  request.mutable_events(0)->mutable_event()->clear_body();
  EXPECT_EQ(ReasonOf(scheduler_->RecordEvents(request)), "EVENT_INVALID");
  EXPECT_EQ(ReasonOf(Steps(1, 1001)), "EVENT_INVALID");
  EXPECT_OK(Steps(1, 1000));
}

TEST_F(SchedulerAttemptsTest, LongLineIsCutBetweenCharacters) {
  auto request = MakeEvents("a", job_, 1);
  request.add_events()->set_sequence(1);
  std::string line;
  while (line.size() < 9000) line += "ä€😀";  // 2, 3 and 4 bytes
  request.mutable_events(0)->mutable_event()->mutable_log()->set_message(line);
  ASSERT_OK(scheduler_->RecordEvents(request));
  const std::string stored = Events(job_).back().log().message();
  EXPECT_LE(stored.size(), 8192u);
  EXPECT_GT(stored.size(), 8188u);
  EXPECT_EQ(line.substr(0, stored.size()), stored);
  EXPECT_NE(static_cast<unsigned char>(line[stored.size()]) & 0xC0, 0x80);
}

TEST_F(SchedulerAttemptsTest, EveryMessageOfAnotherAttemptIsStale) {
  FailAttempt(1, "TRAINER_CRASHED");
  ASSERT_EQ(StateOf(job_), Job::PREPARING);
  for (const int32_t attempt : {0, 1, 3}) {
    EXPECT_EQ(ReasonOf(Steps(1, 1, attempt)), "STALE_ATTEMPT") << attempt;
    EXPECT_EQ(ReasonOf(CommitCheckpoint(worker_, job_, attempt, 5)), "STALE_ATTEMPT") << attempt;
    EXPECT_EQ(ReasonOf(CommitResults(worker_, job_, attempt)), "STALE_ATTEMPT") << attempt;
    EXPECT_EQ(ReasonOf(scheduler_->CheckAttempt("a", job_, attempt)), "STALE_ATTEMPT") << attempt;
  }
  EXPECT_EQ(ReasonOf(Steps(1, 1, 2, "b")), "STALE_ATTEMPT");
  EXPECT_EQ(ReasonOf(scheduler_->CheckAttempt("b", job_, 2)), "STALE_ATTEMPT");
  EXPECT_EQ(ReasonOf(scheduler_->CheckAttempt("a", "fineTuneJobs/none-1", 1)), "STALE_ATTEMPT");
  EXPECT_OK(scheduler_->CheckAttempt("a", job_, 2));
  EXPECT_EQ(StepEvents(), 0);
  EXPECT_GE(scheduler_->Snapshot().counters.stale_messages_refused, 15);
}

TEST_F(SchedulerAttemptsTest, NothingIsTakenFromAFinalJob) {
  ASSERT_OK(CommitResults(worker_, job_, 1));
  worker_.Has(job_, 1, AttemptStatus::SUCCEEDED);
  Sync(worker_);
  EXPECT_EQ(ReasonOf(Steps(1, 1)), "STALE_ATTEMPT");
  EXPECT_EQ(ReasonOf(CommitCheckpoint(worker_, job_, 1, 5)), "STALE_ATTEMPT");
  // Reporting the success again changes nothing.
  const int64_t last = Get(job_).last_event_sequence();
  EXPECT_THAT(Sync(worker_), IsEmpty());
  EXPECT_EQ(Get(job_).last_event_sequence(), last);
}

TEST_F(SchedulerAttemptsTest, CancellingJobStillTakesItsLastEventsAndCheckpoint) {
  ASSERT_OK(scheduler_->Ask(JobTrigger::kCancel, job_, ""));
  EXPECT_OK(Steps(1, 1));
  EXPECT_OK(CommitCheckpoint(worker_, job_, 1, 1));
  EXPECT_EQ(StateOf(job_), Job::CANCELLING);
}

TEST_F(SchedulerAttemptsTest, FaultOfTheJobFailsItAtOnce) {
  FailAttempt(1, "DATASET_INVALID");
  const Job job = Get(job_);
  EXPECT_EQ(job.state(), Job::FAILED);
  EXPECT_EQ(job.failure().reason(), "DATASET_INVALID");
  EXPECT_EQ(job.failure().fault(), v1::Failure::JOB);
  EXPECT_FALSE(job.failure().retried());
  EXPECT_EQ(job.attempts_size(), 1);
}

TEST_F(SchedulerAttemptsTest, FaultOfTheSystemBacksOffAndTriesAgain) {
  worker_.Has(job_, 1, AttemptStatus::FAILED, "TRAINER_CRASHED");
  Sync(worker_);
  worker_.Forget(job_);
  EXPECT_EQ(StateOf(job_), Job::QUEUED);
  EXPECT_EQ(Get(job_).schedule_reason().code(), "BACK_OFF");
  clock_.Advance(options_.back_off.initial - absl::Milliseconds(1));
  EXPECT_THAT(Sync(worker_), IsEmpty());
  clock_.Advance(absl::Milliseconds(1));
  const std::vector<Assignment> assignments = Sync(worker_);
  ASSERT_THAT(assignments, SizeIs(1));
  EXPECT_EQ(assignments[0].attempt(), 2);
  EXPECT_EQ(Get(job_).attempts(0).failure().reason(), "TRAINER_CRASHED");
  EXPECT_TRUE(Get(job_).attempts(0).failure().retried());
}

TEST_F(SchedulerAttemptsTest, ThirdFailureInARowIsTheLast) {
  FailAttempt(1, "TRAINER_CRASHED");
  FailAttempt(2, "DISK_FULL");
  ASSERT_EQ(StateOf(job_), Job::PREPARING);
  FailAttempt(3, "PEER_LOST");
  EXPECT_EQ(StateOf(job_), Job::FAILED);
  EXPECT_EQ(Get(job_).failure().reason(), "PEER_LOST");
  EXPECT_EQ(Get(job_).attempts_size(), 3);
}

TEST_F(SchedulerAttemptsTest, BackOffDoubles) {
  FailAttempt(1, "TRAINER_CRASHED");
  worker_.Has(job_, 2, AttemptStatus::FAILED, "TRAINER_CRASHED");
  Sync(worker_);
  worker_.Forget(job_);
  clock_.Advance(absl::Seconds(2) - absl::Milliseconds(1));
  EXPECT_THAT(Sync(worker_), IsEmpty());
  clock_.Advance(absl::Milliseconds(1));
  EXPECT_THAT(Sync(worker_), SizeIs(1));
}

TEST_F(SchedulerAttemptsTest, JobThatKeepsMakingCheckpointsMayFailAnyNumberOfTimes) {
  for (int32_t attempt = 1; attempt <= 6; ++attempt) {
    ASSERT_OK(CommitCheckpoint(worker_, job_, attempt, 10 * attempt));
    FailAttempt(attempt, "TRAINER_CRASHED");
    ASSERT_EQ(StateOf(job_), Job::PREPARING) << attempt;
  }
}

TEST_F(SchedulerAttemptsTest, NextAttemptGoesOnFromTheNewestCheckpoint) {
  ASSERT_OK(CommitCheckpoint(worker_, job_, 1, 10));
  ASSERT_OK(CommitCheckpoint(worker_, job_, 1, 20));
  FailAttempt(1, "TRAINER_CRASHED");
  const std::vector<Assignment> assignments = Sync(worker_);
  ASSERT_THAT(assignments, SizeIs(1));
  EXPECT_EQ(assignments[0].resume_from().step(), 20);
  EXPECT_EQ(assignments[0].resume_from().attempt(), 1);
  EXPECT_THAT(assignments[0].resume_from().artifacts(), SizeIs(1));
  EXPECT_EQ(Get(job_).attempts(1).start_step(), 20);
  // Its files are found under the attempt that wrote them.
  ASSERT_OK_AND_ASSIGN(const OwnedArtifact found,
                       scheduler_->FindArtifact(job_, "checkpoints/step-20/manifest.json"));
  EXPECT_EQ(found.attempt, 1);
}

TEST_F(SchedulerAttemptsTest, NextAttemptNumbersItsEventsFromOne) {
  ASSERT_OK(Steps(1, 5));
  FailAttempt(1, "TRAINER_CRASHED");
  EXPECT_EQ(Sync(worker_)[0].acknowledged_sequence(), 0);
  EXPECT_FALSE(Get(job_).has_progress());
  ASSERT_OK_AND_ASSIGN(const int64_t acknowledged, Steps(1, 2, 2));
  EXPECT_EQ(acknowledged, 2);
  EXPECT_EQ(StepEvents(), 7);
  EXPECT_EQ(Get(job_).progress().tokens(), 2000);
}

TEST_F(SchedulerAttemptsTest, RetentionReturnsWhatItDrops) {
  ASSERT_OK(CommitCheckpoint(worker_, job_, 1, 10));
  ASSERT_OK(CommitCheckpoint(worker_, job_, 1, 20));
  ASSERT_OK_AND_ASSIGN(const auto dropped, CommitCheckpoint(worker_, job_, 1, 30));
  ASSERT_THAT(dropped, SizeIs(1));
  EXPECT_EQ(dropped[0].step(), 10);
  ASSERT_OK_AND_ASSIGN(const auto kept, scheduler_->ListCheckpoints(job_));
  EXPECT_THAT(kept, SizeIs(2));
  EXPECT_EQ(ReasonOf(scheduler_->FindArtifact(job_, "checkpoints/step-10/manifest.json")),
            "ARTIFACT_NOT_FOUND");
}

TEST_F(SchedulerAttemptsTest, MalformedCommitsAreRefused) {
  worker::v1::CommitArtifactsRequest request;
  request.set_worker("a");
  request.set_job(job_);
  request.set_attempt(1);
  EXPECT_EQ(ReasonOf(scheduler_->CommitArtifacts(request)), "CHECKPOINT_INVALID");
  request.mutable_checkpoint()->set_step(5);
  EXPECT_EQ(ReasonOf(scheduler_->CommitArtifacts(request)), "CHECKPOINT_INVALID");  // no files
  for (const char* path : {"../x", "/etc/passwd", "adapter/x", "checkpoints/step-50/x", ""}) {
    request.mutable_checkpoint()->clear_artifacts();
    *request.mutable_checkpoint()->add_artifacts() = MakeArtifact(path);
    EXPECT_EQ(ReasonOf(scheduler_->CommitArtifacts(request)), "CHECKPOINT_INVALID") << path;
  }
  request.mutable_checkpoint()->clear_artifacts();
  *request.mutable_checkpoint()->add_artifacts() = MakeArtifact("checkpoints/step-5/x");
  request.mutable_checkpoint()->mutable_artifacts(0)->set_sha256("zz");
  EXPECT_EQ(ReasonOf(scheduler_->CommitArtifacts(request)), "CHECKPOINT_INVALID");
  request.mutable_checkpoint()->set_step(0);
  EXPECT_EQ(ReasonOf(scheduler_->CommitArtifacts(request)), "CHECKPOINT_INVALID");
}

TEST_F(SchedulerAttemptsTest, SuccessWithoutResultsIsTriedAgain) {
  worker_.Has(job_, 1, AttemptStatus::SUCCEEDED);
  Sync(worker_);
  EXPECT_EQ(StateOf(job_), Job::QUEUED);
  EXPECT_EQ(Get(job_).attempts(0).failure().reason(), "TRANSFER_FAILED");
}

TEST_F(SchedulerAttemptsTest, SnapshotShowsTheRunningJob) {
  Prepare(worker_, job_, 1);
  ASSERT_OK(Steps(2, 2));
  ASSERT_OK(CommitCheckpoint(worker_, job_, 1, 2));
  const SchedulerSnapshot snapshot = scheduler_->Snapshot();
  EXPECT_EQ(snapshot.jobs_by_state.at(Job::RUNNING), 1);
  EXPECT_EQ(snapshot.jobs_by_state.at(Job::QUEUED), 0);
  EXPECT_EQ(snapshot.workers_connected, 1);
  EXPECT_EQ(snapshot.devices.at("cpu").used, 1);
  EXPECT_EQ(snapshot.devices.at("cpu").total, 1);
  ASSERT_THAT(snapshot.live_jobs, SizeIs(1));
  EXPECT_EQ(snapshot.live_jobs[0].worker, "a");
  EXPECT_EQ(snapshot.live_jobs[0].progress.step(), 3);
  EXPECT_TRUE(snapshot.live_jobs[0].last_checkpoint_time.has_value());
  EXPECT_EQ(snapshot.counters.steps_trained, 2);
  EXPECT_EQ(snapshot.counters.tokens_trained, 2000);
  EXPECT_EQ(snapshot.counters.events_recorded.at("step"), 2);
  EXPECT_EQ(snapshot.counters.events_recorded.at("finished"), 0);
  FailAttempt(1, "DISK_FULL");
  EXPECT_EQ(scheduler_->Snapshot().counters.attempts_ended.at("DISK_FULL"), 1);
}

}  // namespace
}  // namespace longlora::server
