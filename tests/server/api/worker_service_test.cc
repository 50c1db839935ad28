// Goal: the seam's file side: what a worker stores is fenced, whole and inside its attempt, and
// comes back. The scheduler's side of the seam is tested in tests/server/scheduler. Method: a
// server in this process.
#include <gtest/gtest.h>

#include "common/io/files.h"
#include "common/io/sha256.h"
#include "tests/server/api/test_server.h"
#include "tests/testing/status_matchers.h"

namespace longlora::server {
namespace {

class WorkerServiceTest : public ::testing::Test {
 protected:
  void SetUp() override {
    server_.Synchronize();
    job_ = server_.Create();
    assignment_ = server_.AwaitAssignment();
    ASSERT_EQ(assignment_.job(), job_.name());
  }
  worker::v1::ArtifactRef Ref(const std::string& path, const std::string& content) const {
    worker::v1::ArtifactRef ref;
    ref.set_worker("w1");
    ref.set_job(assignment_.job());
    ref.set_attempt(assignment_.attempt());
    ref.mutable_artifact()->set_path(path);
    ref.mutable_artifact()->set_size_bytes(static_cast<int64_t>(content.size()));
    ref.mutable_artifact()->set_sha256(common::Sha256Hex(content));
    return ref;
  }
  grpc::Status Status(const worker::v1::ArtifactRef& ref,
                      worker::v1::GetArtifactStatusResponse* response) {
    worker::v1::GetArtifactStatusRequest request;
    *request.mutable_artifact() = ref;
    grpc::ClientContext context;
    return server_.workers().GetArtifactStatus(&context, request, response);
  }
  grpc::Status CommitCheckpoint(int64_t step, const std::vector<worker::v1::ArtifactRef>& refs) {
    worker::v1::CommitArtifactsRequest request;
    request.set_worker("w1");
    request.set_job(assignment_.job());
    request.set_attempt(assignment_.attempt());
    request.mutable_checkpoint()->set_step(step);
    request.mutable_checkpoint()->set_attempt(assignment_.attempt());
    for (const auto& ref : refs) {
      *request.mutable_checkpoint()->add_artifacts() = ref.artifact();
      request.mutable_checkpoint()->set_size_bytes(request.checkpoint().size_bytes() +
                                                   ref.artifact().size_bytes());
    }
    grpc::ClientContext context;
    worker::v1::CommitArtifactsResponse response;
    return server_.workers().CommitArtifacts(&context, request, &response);
  }
  grpc::Status FetchArtifact(const std::string& path, int64_t offset, std::string* content) {
    worker::v1::FetchArtifactRequest request;
    request.set_worker("w1");
    request.set_job(assignment_.job());
    request.set_attempt(assignment_.attempt());
    request.set_path(path);
    request.set_offset(offset);
    grpc::ClientContext context;
    auto reader = server_.workers().FetchArtifact(&context, request);
    worker::v1::FetchArtifactResponse response;
    content->clear();
    while (reader->Read(&response)) *content += response.data();
    return reader->Finish();
  }
  grpc::Status FetchFile(const std::string& name, int64_t offset, std::string* content) {
    worker::v1::FetchFileRequest request;
    request.set_name(name);
    request.set_offset(offset);
    grpc::ClientContext context;
    auto reader = server_.workers().FetchFile(&context, request);
    worker::v1::FetchFileResponse response;
    content->clear();
    while (reader->Read(&response)) *content += response.data();
    return reader->Finish();
  }
  size_t StoredArtifacts() {
    return common::ListFiles(server_.config().data_dir + "/artifacts").value().size();
  }

  TestServer server_;
  v1::FineTuneJob job_;
  worker::v1::Assignment assignment_;
};

TEST_F(WorkerServiceTest, DatasetFilesAreFetchedFromAnyOffset) {
  const std::string name = assignment_.spec().dataset().training();
  std::string content;
  ASSERT_TRUE(FetchFile(name, 0, &content).ok());
  EXPECT_EQ("files/" + common::Sha256Hex(content), name);
  std::string rest;
  ASSERT_TRUE(FetchFile(name, 10, &rest).ok());
  EXPECT_EQ(rest, content.substr(10));
  EXPECT_EQ(ReasonOf(FetchFile(name, 1000, &rest)), "OFFSET_BEYOND_END");
  EXPECT_EQ(ReasonOf(FetchFile("files/" + std::string(64, 'a'), 0, &rest)), "FILE_NOT_FOUND");
  EXPECT_EQ(ReasonOf(FetchFile("../../etc/passwd", 0, &rest)), "NAME_INVALID");
}

TEST_F(WorkerServiceTest, CheckpointIsCommittedAsAWholeAndFetchedAgain) {
  const auto manifest = Ref("checkpoints/step-1/manifest.json", "{}");
  const auto weights = Ref("checkpoints/step-1/adapter.safetensors", "weights");
  worker::v1::GetArtifactStatusResponse status;
  ASSERT_TRUE(Status(weights, &status).ok());
  EXPECT_EQ(status.received_bytes(), 0);
  ASSERT_TRUE(server_.UploadArtifact(weights, "weights").ok());
  ASSERT_TRUE(Status(weights, &status).ok());
  EXPECT_TRUE(status.complete());
  EXPECT_EQ(ReasonOf(CommitCheckpoint(1, {weights, manifest})), "ARTIFACT_MISSING");
  std::string content;
  EXPECT_EQ(ReasonOf(FetchArtifact("checkpoints/step-1/adapter.safetensors", 0, &content)),
            "ARTIFACT_NOT_FOUND");
  ASSERT_TRUE(server_.UploadArtifact(manifest, "{}").ok());
  ASSERT_TRUE(CommitCheckpoint(1, {weights, manifest}).ok());
  ASSERT_TRUE(CommitCheckpoint(1, {weights, manifest}).ok());
  ASSERT_TRUE(FetchArtifact("checkpoints/step-1/adapter.safetensors", 2, &content).ok());
  EXPECT_EQ(content, "ights");
  v1::ListCheckpointsRequest list;
  list.set_parent(job_.name());
  grpc::ClientContext context;
  v1::ListCheckpointsResponse checkpoints;
  ASSERT_TRUE(server_.jobs().ListCheckpoints(&context, list, &checkpoints).ok());
  ASSERT_EQ(checkpoints.checkpoints_size(), 1);
  EXPECT_EQ(checkpoints.checkpoints(0).name(), job_.name() + "/checkpoints/1");
}

TEST_F(WorkerServiceTest, FilesOfOldCheckpointsGo) {
  for (int64_t step = 1; step <= 4; ++step) {
    const auto ref =
        Ref("checkpoints/step-" + std::to_string(step) + "/manifest.json", std::to_string(step));
    ASSERT_TRUE(server_.UploadArtifact(ref, std::to_string(step)).ok());
    ASSERT_TRUE(CommitCheckpoint(step, {ref}).ok());
  }
  EXPECT_EQ(StoredArtifacts(), 2u);
  std::string content;
  ASSERT_TRUE(FetchArtifact("checkpoints/step-4/manifest.json", 0, &content).ok());
  EXPECT_EQ(content, "4");
}

TEST_F(WorkerServiceTest, OtherAttemptsAndWorkersAreFencedOff) {
  std::vector<worker::v1::ArtifactRef> strangers(3, Ref("adapter/a", "x"));
  strangers[0].set_attempt(assignment_.attempt() + 1);
  strangers[1].set_worker("w2");
  strangers[2].set_job("fineTuneJobs/another-job");
  for (const auto& ref : strangers) {
    const grpc::Status status = server_.UploadArtifact(ref, "x");
    EXPECT_EQ(status.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
    EXPECT_EQ(ReasonOf(status), "STALE_ATTEMPT");
    worker::v1::GetArtifactStatusResponse response;
    EXPECT_EQ(ReasonOf(Status(ref, &response)), "STALE_ATTEMPT");
  }
  EXPECT_EQ(StoredArtifacts(), 0u);
}

TEST_F(WorkerServiceTest, AttemptThatEndsDuringAnUploadStoresNothing) {
  worker::v1::UploadArtifactRequest request;
  *request.mutable_header()->mutable_artifact() = Ref("adapter/a", "abcd");
  grpc::ClientContext context;
  worker::v1::UploadArtifactResponse response;
  auto writer = server_.workers().UploadArtifact(&context, &response);
  ASSERT_TRUE(writer->Write(request));
  request.set_data("abcd");
  ASSERT_TRUE(writer->Write(request));
  // What is written is not yet read: an upload that begins while its attempt ends is told to come
  // again.
  worker::v1::GetArtifactStatusResponse begun;
  while (begun.received_bytes() < 4) ASSERT_TRUE(Status(Ref("adapter/a", "abcd"), &begun).ok());
  worker::v1::AttemptStatus failed;
  failed.set_job(assignment_.job());
  failed.set_attempt(assignment_.attempt());
  failed.set_state(worker::v1::AttemptStatus::FAILED);
  failed.mutable_failure()->set_reason("TRAINER_CRASHED");
  failed.mutable_failure()->set_fault(v1::Failure::SYSTEM);
  server_.Synchronize({failed});
  writer->WritesDone();
  EXPECT_EQ(ReasonOf(writer->Finish()), "STALE_ATTEMPT");
}

TEST_F(WorkerServiceTest, HostilePathsAreRefused) {
  for (const char* path : {"../../../jobs.sqlite", "/etc/cron.d/x", "", "a//b"}) {
    EXPECT_EQ(ReasonOf(server_.UploadArtifact(Ref(path, "x"), "x")), "PATH_INVALID") << path;
  }
  EXPECT_EQ(StoredArtifacts(), 0u);
}

TEST_F(WorkerServiceTest, CorruptArtifactIsNotStored) {
  EXPECT_EQ(ReasonOf(server_.UploadArtifact(Ref("adapter/a", "right"), "wrong")),
            "DIGEST_MISMATCH");
  EXPECT_EQ(ReasonOf(server_.UploadArtifact(Ref("adapter/a", "right"), "rig")), "SIZE_MISMATCH");
  worker::v1::GetArtifactStatusResponse status;
  ASSERT_TRUE(Status(Ref("adapter/a", "right"), &status).ok());
  EXPECT_EQ(status.received_bytes(), 3);
  EXPECT_FALSE(status.complete());
}

}  // namespace
}  // namespace longlora::server
