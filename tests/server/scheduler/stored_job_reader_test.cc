// Goal: who has the store alone reads of jobs what the scheduler's users read, and says openly what
// it does not know. Method: a scheduler and a reader on the same store, asked the same.
#include "server/scheduler/stored_job_reader.h"

#include "google/protobuf/util/message_differencer.h"
#include "tests/server/scheduler/scheduler_fixture.h"

namespace longlora::server {
namespace {

using google::protobuf::util::MessageDifferencer;

class StoredJobReaderTest : public SchedulerWorkerFixture {
 protected:
  void SetUp() override {
    SchedulerWorkerFixture::SetUp();
    reader_ = std::make_unique<StoredJobReader>(store_.get());
  }
  std::unique_ptr<StoredJobReader> reader_;
};

TEST_F(StoredJobReaderTest, JobIsReadAsTheSchedulerTellsItButForTheReasonToWait) {
  const std::string running = StartJob();
  const std::string waiting = Submit();
  scheduler_->Tick();
  ASSERT_OK_AND_ASSIGN(const Job stored, reader_->GetJob(running));
  EXPECT_TRUE(MessageDifferencer::Equals(stored, Get(running)));
  ASSERT_TRUE(Get(waiting).has_schedule_reason());
  ASSERT_OK_AND_ASSIGN(const Job queued, reader_->GetJob(waiting));
  EXPECT_FALSE(queued.has_schedule_reason());
  Job known = Get(waiting);
  known.clear_schedule_reason();
  EXPECT_TRUE(MessageDifferencer::Equals(queued, known));
}

TEST_F(StoredJobReaderTest, UnknownJobsAndForeignNamesAreRefusedAsByTheScheduler) {
  EXPECT_EQ(ReasonOf(reader_->GetJob("fineTuneJobs/none-1")), "JOB_NOT_FOUND");
  EXPECT_EQ(ReasonOf(reader_->ListCheckpoints("fineTuneJobs/none-1")), "JOB_NOT_FOUND");
  EXPECT_EQ(ReasonOf(reader_->GetJob("none")), "NAME_INVALID");
}

TEST_F(StoredJobReaderTest, JobsComeInPages) {
  const std::string first = Submit();
  const std::string second = Submit();
  const std::string third = Submit();
  ASSERT_OK_AND_ASSIGN(const JobPage page, reader_->ListJobs({.limit = 2}));
  ASSERT_THAT(page.jobs, SizeIs(2));
  EXPECT_EQ(page.jobs[0].name(), third);
  EXPECT_EQ(page.jobs[1].name(), second);
  ASSERT_OK_AND_ASSIGN(const JobPage rest,
                       reader_->ListJobs({.before_order = page.next_before_order, .limit = 2}));
  ASSERT_THAT(rest.jobs, SizeIs(1));
  EXPECT_EQ(rest.jobs[0].name(), first);
  EXPECT_EQ(rest.next_before_order, 0);
}

TEST_F(StoredJobReaderTest, ArtifactsAreFoundOnceTheyCount) {
  const std::string job = StartJob();
  ASSERT_OK(CommitCheckpoint(worker_, job, 1, 5));
  ASSERT_OK(CommitResults(worker_, job, 1));
  ASSERT_OK_AND_ASSIGN(const auto checkpoints, reader_->ListCheckpoints(job));
  ASSERT_THAT(checkpoints, SizeIs(1));
  EXPECT_EQ(checkpoints[0].step(), 5);
  EXPECT_OK(reader_->FindArtifact(job, "checkpoints/step-5/manifest.json"));
  EXPECT_EQ(ReasonOf(reader_->FindArtifact(job, "adapter/adapter_model.safetensors")),
            "ARTIFACT_NOT_FOUND");
  ASSERT_OK_AND_ASSIGN(const auto none, reader_->ListResults(job));
  EXPECT_THAT(none, IsEmpty());
  worker_.Has(job, 1, AttemptStatus::SUCCEEDED);
  Sync(worker_);
  ASSERT_OK_AND_ASSIGN(const auto results, reader_->ListResults(job));
  EXPECT_THAT(results, SizeIs(1));
  ASSERT_OK_AND_ASSIGN(const OwnedArtifact found,
                       reader_->FindArtifact(job, "adapter/adapter_model.safetensors"));
  EXPECT_EQ(found.attempt, 1);
}

TEST_F(StoredJobReaderTest, WorkersAreAsRecordedWithTheJobsThatTheyHave) {
  const std::string job = StartJob();
  ASSERT_OK(scheduler_->SetScheduling("workers/a", v1::Worker::CORDONED));
  FakeWorker idle("b", 1);
  Sync(idle);
  ASSERT_OK_AND_ASSIGN(const std::vector<v1::Worker> workers, reader_->ListWorkers());
  ASSERT_THAT(workers, SizeIs(2));
  EXPECT_EQ(workers[0].name(), "workers/a");
  EXPECT_EQ(workers[0].state(), v1::Worker::UNKNOWN);
  EXPECT_EQ(workers[0].scheduling(), v1::Worker::CORDONED);
  EXPECT_EQ(workers[0].devices(0).job(), job);
  EXPECT_EQ(workers[1].scheduling(), v1::Worker::OPEN);
  EXPECT_EQ(workers[1].devices(0).job(), "");
}

}  // namespace
}  // namespace longlora::server
