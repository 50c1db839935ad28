// Goal: one change gives the job, its transaction and its events in step with each other.
// Method: an editor on jobs made by editors; no store, no clock.
#include "server/scheduler/job_editor.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/testing/status_matchers.h"

namespace longlora::server {
namespace {

using ::longlora::testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using Job = v1::FineTuneJob;

const absl::Time kNow = absl::FromUnixSeconds(1'700'000'000);

StoredJob Finish(JobEditor editor) {
  editor.TakeTransaction();
  return editor.job();
}

StoredJob QueuedJob(int64_t keep_last = 2) {
  v1::FineTuneSpec spec;
  spec.mutable_checkpoint()->set_keep_last(keep_last);
  return Finish(JobEditor::Create({"alpha-1", 1, spec, "wish", "digest"}, kNow));
}

StoredJob AssignedJob(int64_t keep_last = 2) {
  JobEditor editor(QueuedJob(keep_last), kNow);
  EXPECT_OK(editor.Assign("w", "first", {"cpu:0"}));
  return Finish(std::move(editor));
}

v1::Checkpoint CheckpointAt(int64_t step) {
  v1::Checkpoint checkpoint;
  checkpoint.set_step(step);
  checkpoint.add_artifacts()->set_size_bytes(5);
  checkpoint.add_artifacts()->set_size_bytes(6);
  return checkpoint;
}

std::vector<int64_t> StepsOf(const StoredJob& job) {
  std::vector<int64_t> steps;
  for (const v1::Checkpoint& checkpoint : job.record.checkpoints())
    steps.push_back(checkpoint.step());
  return steps;
}

TEST(JobEditorTest, NewJobIsQueuedWithItsFirstEvent) {
  JobEditor editor = JobEditor::Create({"alpha-1", 4, {}, "wish", "digest"}, kNow);
  const JobTransaction transaction = editor.TakeTransaction();
  EXPECT_EQ(transaction.expected_revision, 0);
  EXPECT_EQ(transaction.order, 4);
  ASSERT_THAT(transaction.events, SizeIs(1));
  EXPECT_EQ(transaction.events[0].state_changed().state(), Job::QUEUED);
  EXPECT_EQ(editor.job().revision, 1);
  EXPECT_EQ(editor.job().cursor.last_event_sequence, 1);
  EXPECT_EQ(editor.job().record.job().create_time().seconds(), 1'700'000'000);
}

TEST(JobEditorTest, UntouchedJobIsNoChange) {
  const JobEditor editor(QueuedJob(), kNow);
  EXPECT_FALSE(editor.changed());
}

TEST(JobEditorTest, AssignmentBeginsAnAttemptFromTheNewestCheckpoint) {
  StoredJob job = QueuedJob();
  job.record.add_checkpoints()->set_step(10);
  job.record.add_checkpoints()->set_step(20);
  job.cursor.acknowledged_sequence = 99;
  job.cursor.progress.set_step(15);
  JobEditor editor(job, kNow);
  ASSERT_OK(editor.Assign("w", "first", {"cpu:0", "cpu:1"}));
  const JobTransaction transaction = editor.TakeTransaction();
  const v1::Attempt& attempt = editor.job().record.job().attempts(0);
  EXPECT_EQ(attempt.number(), 1);
  EXPECT_EQ(attempt.worker(), "workers/w");
  EXPECT_EQ(attempt.start_step(), 20);
  EXPECT_THAT(editor.job().record.attempts(0).device_ids(), ElementsAre("cpu:0", "cpu:1"));
  EXPECT_EQ(editor.job().cursor.acknowledged_sequence, 0);
  EXPECT_EQ(editor.job().cursor.progress.step(), 0);
  ASSERT_THAT(transaction.events, SizeIs(2));
  EXPECT_TRUE(transaction.events[0].has_attempt_changed());
  EXPECT_EQ(transaction.events[1].state_changed().state(), Job::PREPARING);
}

TEST(JobEditorTest, AssigningARunningJobIsRefusedWithoutAnAttempt) {
  JobEditor editor(AssignedJob(), kNow);
  EXPECT_THAT(editor.Assign("w", "first", {"cpu:0"}),
              StatusIs(absl::StatusCode::kFailedPrecondition, "PREPARING"));
  EXPECT_EQ(editor.job().record.job().attempts_size(), 1);
}

TEST(JobEditorTest, EndOfAnAttemptIsToldBeforeTheStateItCauses) {
  JobEditor editor(AssignedJob(), kNow);
  const v1::Failure failure = MakeFailure("NON_FINITE", "loss is NaN");
  ASSERT_OK(editor.EndAttempt({JobTrigger::kFail, v1::Attempt::FAILED, failure}, kNow));
  const JobTransaction transaction = editor.TakeTransaction();
  ASSERT_THAT(transaction.events, SizeIs(2));
  EXPECT_EQ(transaction.events[0].attempt_changed().state(), v1::Attempt::FAILED);
  EXPECT_EQ(transaction.events[1].state_changed().failure().reason(), "NON_FINITE");
  EXPECT_EQ(editor.job().record.job().failure().reason(), "NON_FINITE");
  EXPECT_TRUE(editor.job().record.job().has_end_time());
}

TEST(JobEditorTest, RequeuedJobHasNoFailureOfItsOwn) {
  JobEditor editor(AssignedJob(), kNow);
  const v1::Failure failure = MakeFailure("WORKER_LOST", "gone");
  ASSERT_OK(editor.EndAttempt({JobTrigger::kRequeue, v1::Attempt::FAILED, failure},
                              kNow + absl::Seconds(4)));
  EXPECT_EQ(editor.state(), Job::QUEUED);
  EXPECT_FALSE(editor.job().record.job().has_failure());
  EXPECT_EQ(editor.job().record.job().attempts(0).failure().reason(), "WORKER_LOST");
  EXPECT_EQ(editor.job().record.retry_time().seconds(), 1'700'000'004);
}

TEST(JobEditorTest, EventsAloneLeaveTheRecord) {
  StoredJob job = AssignedJob();
  JobEditor editor(job, kNow);
  v1::JobEvent event;
  event.mutable_step()->set_step(1);
  ASSERT_OK(editor.RecordEvents({event}));
  const JobTransaction transaction = editor.TakeTransaction();
  EXPECT_FALSE(transaction.record.has_value());
  EXPECT_EQ(editor.job().revision, job.revision);
  EXPECT_EQ(transaction.cursor.acknowledged_sequence, 1);
  EXPECT_EQ(transaction.cursor.progress.step(), 1);
  EXPECT_EQ(transaction.events[0].attempt(), 1);
}

TEST(JobEditorTest, PreparedMakesTheJobRunningOnce) {
  JobEditor editor(AssignedJob(), kNow);
  v1::JobEvent prepared;
  prepared.mutable_prepared();
  ASSERT_OK(editor.RecordEvents({prepared, prepared}));
  EXPECT_EQ(editor.state(), Job::RUNNING);
  EXPECT_THAT(editor.TakeTransaction().events, SizeIs(3));  // prepared, RUNNING, prepared
}

TEST(JobEditorTest, RetentionKeepsTheNewestCheckpoints) {
  JobEditor editor(AssignedJob(2), kNow);
  EXPECT_THAT(editor.CommitCheckpoint(CheckpointAt(10)), IsEmpty());
  EXPECT_THAT(editor.CommitCheckpoint(CheckpointAt(20)), IsEmpty());
  const std::vector<v1::Checkpoint> dropped = editor.CommitCheckpoint(CheckpointAt(30));
  ASSERT_THAT(dropped, SizeIs(1));
  EXPECT_EQ(dropped[0].step(), 10);
  EXPECT_EQ(dropped[0].attempt(), 1);
  EXPECT_THAT(StepsOf(editor.job()), ElementsAre(20, 30));
  EXPECT_EQ(editor.job().record.checkpoints(1).size_bytes(), 11);
  EXPECT_EQ(editor.job().record.checkpoints(1).name(), "fineTuneJobs/alpha-1/checkpoints/30");
}

TEST(JobEditorTest, RetentionKeepsTheBestCheckpointBesidesTheNewest) {
  JobEditor editor(AssignedJob(2), kNow);
  const auto commit = [&](int64_t step, bool best) {
    v1::Checkpoint checkpoint = CheckpointAt(step);
    checkpoint.set_best(best);
    return editor.CommitCheckpoint(checkpoint).size();
  };
  EXPECT_EQ(commit(10, true), 0u);
  EXPECT_EQ(commit(20, false), 0u);
  EXPECT_EQ(commit(30, false), 0u);
  EXPECT_THAT(StepsOf(editor.job()), ElementsAre(10, 20, 30));
  EXPECT_EQ(commit(40, false), 1u);
  EXPECT_THAT(StepsOf(editor.job()), ElementsAre(10, 30, 40));
  EXPECT_EQ(commit(20, false), 1u) << "a late repeat is dropped again";
  EXPECT_THAT(StepsOf(editor.job()), ElementsAre(10, 30, 40));
  EXPECT_EQ(commit(50, true), 1u) << "a better one takes the place of the best";
  EXPECT_THAT(StepsOf(editor.job()), ElementsAre(30, 40, 50));
}

TEST(JobEditorTest, RepeatedCheckpointChangesNothing) {
  JobEditor first(AssignedJob(), kNow);
  first.CommitCheckpoint(CheckpointAt(10));
  JobEditor again(Finish(std::move(first)), kNow);
  EXPECT_THAT(again.CommitCheckpoint(CheckpointAt(10)), IsEmpty());
  EXPECT_FALSE(again.changed());
}

TEST(JobEditorTest, LateRepeatOfADroppedCheckpointIsDroppedAgain) {
  JobEditor editor(AssignedJob(1), kNow);
  editor.CommitCheckpoint(CheckpointAt(10));
  editor.CommitCheckpoint(CheckpointAt(20));
  const std::vector<v1::Checkpoint> dropped = editor.CommitCheckpoint(CheckpointAt(10));
  ASSERT_THAT(dropped, SizeIs(1));
  EXPECT_EQ(dropped[0].step(), 10);
  EXPECT_THAT(StepsOf(editor.job()), ElementsAre(20));
}

TEST(JobEditorTest, CheckpointOfALaterAttemptReplacesTheSameStep) {
  JobEditor first(AssignedJob(), kNow);
  first.CommitCheckpoint(CheckpointAt(10));
  ASSERT_OK(first.EndAttempt(
      {JobTrigger::kRequeue, v1::Attempt::FAILED, MakeFailure("WORKER_LOST", "")}, kNow));
  JobEditor second(Finish(std::move(first)), kNow);
  ASSERT_OK(second.Assign("w", "second", {"cpu:0"}));
  const std::vector<v1::Checkpoint> dropped = second.CommitCheckpoint(CheckpointAt(10));
  ASSERT_THAT(dropped, SizeIs(1));
  EXPECT_EQ(dropped[0].attempt(), 1);
  EXPECT_EQ(second.job().record.checkpoints(0).attempt(), 2);
}

TEST(JobEditorTest, FailuresInARowAreCountedSinceTheLastCheckpoint) {
  StoredJob job = AssignedJob();
  for (int i = 0; i < 3; ++i) {
    JobEditor end(job, kNow);
    if (i == 1) end.CommitCheckpoint(CheckpointAt(10));
    ASSERT_OK(end.EndAttempt(
        {JobTrigger::kRequeue, v1::Attempt::FAILED, MakeFailure("WORKER_LOST", "")}, kNow));
    JobEditor next(Finish(std::move(end)), kNow);
    ASSERT_OK(next.Assign("w", "first", {"cpu:0"}));
    job = Finish(std::move(next));
  }
  // Attempts 1, 2 (with a checkpoint) and 3 failed; 4 is active: 3 and 2 count.
  EXPECT_EQ(FactsOf(job, 3).failures_before, 2);
  EXPECT_FALSE(FactsOf(job, 3).checkpoint_committed);
}

}  // namespace
}  // namespace longlora::server
