// Goal: files cross the seam whole or not at all: broken streams resume where they stopped, wrong
// content is never used, the cache keeps its size. Method: the fake service breaks streams, lies
// and holds; the cache is damaged by hand.
#include <sys/stat.h>
#include <utime.h>

#include <fstream>
#include <thread>

#include "common/io/files.h"
#include "common/io/sha256.h"
#include "gmock/gmock.h"
#include "rpc/grpc_status.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temporary_directory.h"
#include "tests/worker/agent/fake_worker_service.h"
#include "tests/worker/supervisor/trainer_fixture.h"
#include "worker/agent/artifact_upload.h"
#include "worker/agent/checkpoint_uploader.h"
#include "worker/agent/failure.h"
#include "worker/agent/file_cache.h"

namespace longlora::worker {
namespace {

using ::longlora::testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::string Content(size_t size) {
  std::string content;
  for (size_t i = 0; i < size; ++i) content.push_back(static_cast<char>('a' + i * 7 % 26));
  return content;
}

class TransferTest : public ::testing::Test {
 protected:
  TransferTest() : link_(seam::WorkerService::NewStub(service_.Channel()), "w1") {
    EXPECT_OK(common::CreateDirectories(directory_ / "job"));
  }
  std::unique_ptr<FileCache> OpenCache(int64_t bytes_max = 1 << 20) {
    return *FileCache::Open(directory_ / "cache", bytes_max, &link_);
  }
  std::string Read(const std::string& name) {
    auto content = common::ReadFile(directory_ / name, 1 << 20);
    return content.ok() ? *content : "[" + content.status().ToString() + "]";
  }
  std::string CachedPath(const std::string& name) { return directory_ / "cache/" + name; }
  UploadContext Uploads() {
    return {.id = id_,
            .link = &link_,
            .metrics = &metrics_,
            .cancellation = &cancellation_,
            .policy = {
                .backoff = {.initial = absl::Milliseconds(1), .maximum = absl::Milliseconds(5)}}};
  }

  testing::TemporaryDirectory directory_;
  FakeWorkerService service_;
  ServerLink link_;
  WorkerMetrics metrics_{"test", {}, &common::Clock::Real()};
  Cancellation cancellation_;
  const AttemptId id_{"fineTuneJobs/j", 1};
};

using FileCacheTest = TransferTest;
using ArtifactUploadTest = TransferTest;

TEST_F(FileCacheTest, FetchesOnceAndSharesBetweenJobs) {
  const std::string name = service_.AddFile(Content(5000));
  const auto cache = OpenCache();
  ASSERT_OK(cache->Provide(name, directory_ / "job/a", &cancellation_));
  ASSERT_OK(cache->Provide(name, directory_ / "job/b", &cancellation_));
  EXPECT_EQ(Read("job/a"), Content(5000));
  EXPECT_EQ(Read("job/b"), Content(5000));
  EXPECT_EQ(service_.sent_bytes(), 5000);
}

TEST_F(FileCacheTest, BrokenStreamResumesWhereItStopped) {
  const std::string name = service_.AddFile(Content(10000));
  service_.BreakStreams(3000, 3);
  ASSERT_OK(OpenCache()->Provide(name, directory_ / "job/a", &cancellation_));
  EXPECT_EQ(Read("job/a"), Content(10000));
  EXPECT_EQ(service_.sent_bytes(), 10000) << "no byte twice";
}

TEST_F(FileCacheTest, PartialFileOfAFormerLifeIsUsed) {
  const std::string name = service_.AddFile(Content(10000));
  const auto cache = OpenCache();
  ASSERT_OK(common::AtomicWriteFile(directory_ / "cache/partial/" + name.substr(6), Content(4000)));
  ASSERT_OK(cache->Provide(name, directory_ / "job/a", &cancellation_));
  EXPECT_EQ(Read("job/a"), Content(10000));
  EXPECT_EQ(service_.sent_bytes(), 6000);
}

TEST_F(FileCacheTest, DamagedOrOverlongPartialFileIsStartedAnew) {
  const std::string name = service_.AddFile(Content(3000));
  const auto cache = OpenCache();
  for (const std::string& damaged : {std::string(1000, '!'), std::string(4000, '!')}) {
    ASSERT_OK(common::AtomicWriteFile(directory_ / "cache/partial/" + name.substr(6), damaged));
    ASSERT_OK(common::RemoveAll(CachedPath(name)));
    ASSERT_OK(cache->Provide(name, directory_ / "job/a", &cancellation_));
    EXPECT_EQ(Read("job/a"), Content(3000));
  }
}

TEST_F(FileCacheTest, CachedFileThatRottedIsFetchedAgain) {
  const std::string name = service_.AddFile(Content(5000));
  const auto cache = OpenCache();
  ASSERT_OK(cache->Provide(name, directory_ / "job/a", &cancellation_));
  ASSERT_OK(common::RemoveAll(directory_ / "job/a"));
  {
    std::fstream file(CachedPath(name), std::ios::in | std::ios::out);
    file.seekp(2500);
    file.put('!');
  }
  ASSERT_OK(cache->Provide(name, directory_ / "job/b", &cancellation_));
  EXPECT_EQ(Read("job/b"), Content(5000));
}

TEST_F(FileCacheTest, LyingServerNeverPutsAFileInPlace) {
  const std::string name = service_.AddLyingFile("something else", Content(5000));
  const absl::Status status = OpenCache()->Provide(name, directory_ / "job/a", &cancellation_);
  EXPECT_EQ(FailureFromStatus(status).reason(), "TRANSFER_FAILED");
  EXPECT_FALSE(common::FileSize(directory_ / "job/a").ok());
  EXPECT_FALSE(common::FileSize(CachedPath(name)).ok());
}

TEST_F(FileCacheTest, MissingFileIsTheJobsFault) {
  const std::string name = "files/" + common::Sha256Hex("nowhere");
  const api::Failure failure =
      FailureFromStatus(OpenCache()->Provide(name, directory_ / "job/a", &cancellation_));
  EXPECT_EQ(failure.reason(), "DATASET_INVALID");
  EXPECT_EQ(failure.fault(), api::Failure::JOB);
}

TEST_F(FileCacheTest, NamesThatAreNoDigestAreRefused) {
  const auto cache = OpenCache();
  for (const std::string& name : {std::string("files/../../etc/passwd"), std::string("/etc/passwd"),
                                  "files/" + std::string(64, 'A'), std::string("")}) {
    EXPECT_EQ(
        FailureFromStatus(cache->Provide(name, directory_ / "job/a", &cancellation_)).reason(),
        "INVALID_SPEC")
        << name;
  }
}

TEST_F(FileCacheTest, LeastRecentlyUsedFilesGoWhenItIsFull) {
  const auto cache = OpenCache(/*bytes_max=*/2500);
  std::vector<std::string> names;
  for (int i = 0; i < 3; ++i) {
    names.push_back(service_.AddFile(Content(1000 + i)));
    ASSERT_OK(cache->Provide(names[i], directory_ / "job/" + std::to_string(i), &cancellation_));
    const utimbuf used = {.actime = 1000 + i, .modtime = 1000 + i};
    if (i < 2) {
      ASSERT_EQ(utime(CachedPath(names[i]).c_str(), &used), 0);
    }
  }
  EXPECT_FALSE(common::FileSize(CachedPath(names[0])).ok());
  EXPECT_OK(common::FileSize(CachedPath(names[1])));
  EXPECT_OK(common::FileSize(CachedPath(names[2])));
  EXPECT_EQ(Read("job/0"), Content(1000)) << "a job keeps what it was given";
}

TEST_F(FileCacheTest, CancellationEndsAFetchThatHangs) {
  service_.HoldStreams(true);
  const std::string name = service_.AddFile(Content(100));
  const auto cache = OpenCache();
  absl::Status status;
  std::thread thread([&] { status = cache->Provide(name, directory_ / "job/a", &cancellation_); });
  EXPECT_TRUE(Eventually([&] { return service_.held_streams() == 1; }));
  cancellation_.Cancel();
  thread.join();
  EXPECT_EQ(status.code(), absl::StatusCode::kCancelled);
}

TEST_F(ArtifactUploadTest, BrokenStreamResumesWhereItStopped) {
  const std::string content = Content(5 << 20);
  ASSERT_OK(common::AtomicWriteFile(directory_ / "job/a", content));
  service_.BreakStreams(2'000'000, 2);
  ASSERT_OK_AND_ASSIGN(const api::Artifact artifact,
                       UploadArtifactFile(Uploads(), directory_ / "job/a", "adapter/a"));
  EXPECT_EQ(artifact.size_bytes(), 5 << 20);
  EXPECT_EQ(artifact.sha256(), common::Sha256Hex(content));
  EXPECT_TRUE(service_.ArtifactContent(id_, "adapter/a") == content);
  EXPECT_EQ(service_.received_bytes(), 5 << 20) << "no byte twice";
}

TEST_F(ArtifactUploadTest, CompleteArtifactIsNotSentAgain) {
  ASSERT_OK(common::AtomicWriteFile(directory_ / "job/a", Content(1000)));
  ASSERT_OK(UploadArtifactFile(Uploads(), directory_ / "job/a", "adapter/a"));
  ASSERT_OK(UploadArtifactFile(Uploads(), directory_ / "job/a", "adapter/a"));
  EXPECT_EQ(service_.received_bytes(), 1000);
}

TEST_F(ArtifactUploadTest, EmptyFileArrives) {
  ASSERT_OK(common::AtomicWriteFile(directory_ / "job/a", ""));
  ASSERT_OK(UploadArtifactFile(Uploads(), directory_ / "job/a", "adapter/a"));
  EXPECT_EQ(service_.ArtifactContent(id_, "adapter/a"), "");
}

TEST_F(ArtifactUploadTest, StaleAttemptIsTold) {
  ASSERT_OK(common::AtomicWriteFile(directory_ / "job/a", "x"));
  service_.MakeStale(id_);
  EXPECT_TRUE(IsStale(UploadArtifactFile(Uploads(), directory_ / "job/a", "adapter/a").status()));
}

class CheckpointUploaderTest : public TransferTest {
 protected:
  PendingCheckpoint WriteCheckpoint(int64_t step) {
    const std::string path = "checkpoints/step-" + std::to_string(step);
    EXPECT_OK(common::CreateDirectories(directory_ / path));
    EXPECT_OK(common::AtomicWriteFile(directory_ / path + "/state", Content(100 + step)));
    return {.step = step, .loss = 0.5, .path = path};
  }
  void Note(int64_t step, const absl::Status& status) {
    absl::MutexLock lock(&mutex_);
    failed_.push_back(step);
  }
  std::vector<int64_t> failed() {
    absl::MutexLock lock(&mutex_);
    return failed_;
  }
  absl::Mutex mutex_;
  std::vector<int64_t> failed_;
};

TEST_F(CheckpointUploaderTest, CheckpointThatTheTrainerDeletedMeanwhileStillArrives) {
  service_.HoldStreams(true);
  CheckpointUploader uploader(
      Uploads(), directory_ / "uploads", 2,
      [&](int64_t step, const absl::Status& status) { Note(step, status); });
  const PendingCheckpoint checkpoint = WriteCheckpoint(1);
  ASSERT_OK(uploader.Add(checkpoint, directory_ / checkpoint.path));
  ASSERT_OK(common::RemoveAll(directory_ / checkpoint.path));
  service_.HoldStreams(false);
  uploader.WaitUntilDone();
  ASSERT_EQ(service_.Checkpoints(id_).size(), 1u);
  EXPECT_EQ(service_.Checkpoints(id_)[0].size_bytes(), 101);
  EXPECT_EQ(service_.ArtifactContent(id_, "checkpoints/step-1/state"), Content(101));
}

TEST_F(CheckpointUploaderTest, NewerCheckpointsReplaceOlderOnesThatWait) {
  service_.HoldStreams(true);
  CheckpointUploader uploader(
      Uploads(), directory_ / "uploads", 1,
      [&](int64_t step, const absl::Status& status) { Note(step, status); });
  for (int64_t step = 1; step <= 4; ++step) {
    const PendingCheckpoint checkpoint = WriteCheckpoint(step);
    ASSERT_OK(uploader.Add(checkpoint, directory_ / checkpoint.path));
    // The first is in flight, the others wait.
    if (step == 1) {
      ASSERT_TRUE(Eventually([&] { return service_.held_streams() == 1; }));
    }
  }
  service_.HoldStreams(false);
  uploader.WaitUntilDone();
  ASSERT_EQ(service_.Checkpoints(id_).size(), 2u);
  EXPECT_EQ(service_.Checkpoints(id_)[0].step(), 1);
  EXPECT_EQ(service_.Checkpoints(id_)[1].step(), 4);
  EXPECT_THAT(failed(), ElementsAre(2, 3));
}

TEST_F(CheckpointUploaderTest, MissingCheckpointIsAnError) {
  CheckpointUploader uploader(Uploads(), directory_ / "uploads", 1,
                              [&](int64_t, const absl::Status&) {});
  EXPECT_FALSE(
      uploader.Add({.step = 9, .loss = {}, .path = "checkpoints/step-9"}, directory_ / "nowhere")
          .ok());
}

}  // namespace
}  // namespace longlora::worker
