// Goal: a backup is whole and right or it is refused, also while the store and the files change.
// Method: a real store and real files; a thread that commits checkpoints and drops old ones without
// pause; damaged and missing files.
#include "server/backup/data_copy.h"

#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <string>
#include <thread>

#include "common/io/files.h"
#include "common/io/sha256.h"
#include "server/artifacts/artifact_store.h"
#include "server/store/sqlite_job_store.h"
#include "tests/server/store/job_transactions.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temporary_directory.h"

namespace longlora::server {
namespace {

using ::longlora::testing::StatusIs;

v1::Artifact ArtifactOf(const std::string& path, const std::string& content) {
  v1::Artifact artifact;
  artifact.set_path(path);
  artifact.set_size_bytes(static_cast<int64_t>(content.size()));
  artifact.set_sha256(common::Sha256Hex(content));
  return artifact;
}

class DataCopyTest : public ::testing::Test {
 protected:
  void SetUp() override {
    data_ = directory_ / "data";
    backup_ = directory_ / "backup";
    ASSERT_OK(common::CreateDirectories(data_ + "/files"));
    ASSERT_OK_AND_ASSIGN(store_, OpenSqliteJobStore(data_ + "/jobs.sqlite"));
    ASSERT_OK_AND_ASSIGN(artifacts_, ArtifactStore::Open(data_ + "/artifacts", 1 << 20));
  }
  std::string PathOf(const v1::Artifact& artifact) {
    return absl::StrCat("/artifacts/job-1/1/", artifact.path(), "@", artifact.sha256());
  }
  void Put(const std::string& content, const v1::Artifact& artifact) {
    ASSERT_OK_AND_ASSIGN(auto upload, artifacts_->Begin({"job-1", 1, artifact.path(),
                                                         artifact.size_bytes(), artifact.sha256()},
                                                        0));
    ASSERT_OK(upload->Append(content));
    ASSERT_OK(upload->Finish());
  }
  // job-1 with a dataset file and no checkpoint yet.
  void CreateJobWithData() {
    dataset_ = absl::StrCat("files/", common::Sha256Hex("some words"));
    ASSERT_OK(common::AtomicWriteFile(absl::StrCat(data_, "/", dataset_), "some words"));
    JobTransaction job = CreateJob("job-1", 1);
    job.record->mutable_job()->mutable_spec()->mutable_dataset()->set_training(dataset_);
    ASSERT_OK(store_->Enqueue(std::move(job)).Wait());
  }
  // Makes a checkpoint of `step` the job's only one, as retention does: the former one's file goes
  // after the commit.
  void ReplaceCheckpoint(int64_t step) {
    const std::string content = absl::StrCat("weights of step ", step);
    const v1::Artifact artifact =
        ArtifactOf(absl::StrCat("checkpoints/step-", step, "/weights"), content);
    Put(content, artifact);
    ASSERT_OK_AND_ASSIGN(const StoredJob job, store_->ReadJob("job-1"));
    JobTransaction change = ChangeState(job, v1::FineTuneJob::RUNNING);
    change.record->clear_checkpoints();
    v1::Checkpoint& checkpoint = *change.record->add_checkpoints();
    checkpoint.set_step(step);
    checkpoint.set_attempt(1);
    *checkpoint.add_artifacts() = artifact;
    ASSERT_OK(store_->Enqueue(std::move(change)).Wait());
    for (const v1::Checkpoint& old : job.record.checkpoints()) {
      const v1::Artifact& file = old.artifacts(0);
      ASSERT_OK(artifacts_->Remove({"job-1", 1, file.path(), file.size_bytes(), file.sha256()}));
    }
  }
  // The artifact of the only checkpoint that the store of `folder` tells.
  v1::Artifact CheckpointIn(const std::string& folder) {
    const auto store = OpenSqliteJobStore(folder + "/jobs.sqlite");
    EXPECT_OK(store);
    if (!store.ok()) return {};
    const absl::StatusOr<StoredJob> job = (*store)->ReadJob("job-1");
    EXPECT_OK(job);
    return job.ok() ? job->record.checkpoints(0).artifacts(0) : v1::Artifact();
  }
  std::string Read(const std::string& path) {
    const absl::StatusOr<std::string> content = common::ReadFile(path, 1 << 20);
    EXPECT_OK(content);
    return content.value_or("");
  }

  testing::TemporaryDirectory directory_;
  std::string data_;
  std::string backup_;
  std::string dataset_;
  std::unique_ptr<JobStore> store_;  // open all the while, as by a server that runs
  std::unique_ptr<ArtifactStore> artifacts_;
};

TEST_F(DataCopyTest, BackupAndRestoreGiveTheSameJobsAndFiles) {
  CreateJobWithData();
  ReplaceCheckpoint(1);
  ASSERT_OK_AND_ASSIGN(const DataCopyReport report, BackUp(data_, backup_));
  EXPECT_EQ(report.jobs, 1);
  EXPECT_EQ(report.files, 2);
  EXPECT_EQ(report.copied_files, 2);
  ReplaceCheckpoint(2);  // of no concern to the backup
  const std::string restored = directory_ / "restored";
  ASSERT_OK_AND_ASSIGN(const DataCopyReport back, Restore(backup_, restored));
  EXPECT_EQ(back.copied_files, 2);
  EXPECT_EQ(Read(absl::StrCat(restored, "/", dataset_)), "some words");
  const v1::Artifact artifact = CheckpointIn(restored);
  EXPECT_EQ(artifact.path(), "checkpoints/step-1/weights");
  EXPECT_EQ(Read(restored + PathOf(artifact)), "weights of step 1");
}

TEST_F(DataCopyTest, SecondBackupCopiesOnlyWhatIsNew) {
  CreateJobWithData();
  ReplaceCheckpoint(1);
  ASSERT_OK(BackUp(data_, backup_));
  ReplaceCheckpoint(2);
  ASSERT_OK_AND_ASSIGN(const DataCopyReport report, BackUp(data_, backup_));
  EXPECT_EQ(report.copied_files, 1);
  EXPECT_EQ(CheckpointIn(backup_).path(), "checkpoints/step-2/weights");
}

TEST_F(DataCopyTest, CopyOfWhatChangesAllTheTimeIsOfOneMoment) {
  CreateJobWithData();
  ReplaceCheckpoint(1);
  std::atomic<bool> done = false;
  std::thread writer([&] {
    for (int64_t step = 2; !done; ++step) ReplaceCheckpoint(step);
  });
  int copied = 0;
  for (int i = 0; i < 20; ++i) {
    const std::string target = directory_ / absl::StrCat("moment-", i);
    const absl::StatusOr<DataCopyReport> report = BackUp(data_, target);
    // Ten copies of the store that were each overtaken are a refusal, never half a backup.
    if (!report.ok()) {
      EXPECT_THAT(report.status(), StatusIs(absl::StatusCode::kDataLoss, "is missing"));
      EXPECT_FALSE(common::FileSize(target + "/jobs.sqlite").ok());
      continue;
    }
    ++copied;
    const v1::Artifact artifact = CheckpointIn(target);
    EXPECT_EQ(common::Sha256Hex(Read(target + PathOf(artifact))), artifact.sha256());
  }
  done = true;
  writer.join();
  EXPECT_GT(copied, 0);
}

TEST_F(DataCopyTest, DamagedAndMissingFilesAreRefusedAndTheFormerBackupStays) {
  CreateJobWithData();
  ReplaceCheckpoint(1);
  ASSERT_OK(BackUp(data_, backup_));
  ReplaceCheckpoint(2);
  ASSERT_OK_AND_ASSIGN(const StoredJob job, store_->ReadJob("job-1"));
  const std::string present = data_ + PathOf(job.record.checkpoints(0).artifacts(0));
  const std::string content = Read(present);
  ASSERT_OK(common::AtomicWriteFile(present, std::string(content.size(), 'x')));
  EXPECT_THAT(BackUp(data_, backup_), StatusIs(absl::StatusCode::kDataLoss, "is damaged"));
  ASSERT_OK(common::RemoveAll(present));
  EXPECT_THAT(BackUp(data_, backup_), StatusIs(absl::StatusCode::kDataLoss, "is missing"));
  EXPECT_EQ(CheckpointIn(backup_).path(), "checkpoints/step-1/weights");
}

TEST_F(DataCopyTest, WrongDirectoriesAreRefused) {
  EXPECT_THAT(BackUp(directory_ / "none", backup_),
              StatusIs(absl::StatusCode::kNotFound, "no job store"));
  const std::string other = directory_ / "other";
  ASSERT_OK(common::CreateDirectories(other));
  ASSERT_OK(OpenSqliteJobStore(other + "/jobs.sqlite"));
  EXPECT_THAT(BackUp(data_, other),
              StatusIs(absl::StatusCode::kFailedPrecondition, "data directory of a server"));
  EXPECT_THAT(Restore(data_, other),
              StatusIs(absl::StatusCode::kFailedPrecondition, "has a job store already"));
}

}  // namespace
}  // namespace longlora::server
