// Goal: what a worker names stays inside its attempt, and a stored artifact is exactly what was
// announced. Method: a real directory; hostile paths, digests and ids; two contents under one path;
// removal.
#include "server/artifacts/artifact_store.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <vector>

#include "common/io/files.h"
#include "common/io/sha256.h"
#include "rpc/grpc_status.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temporary_directory.h"

namespace longlora::server {
namespace {

std::string ReasonOf(const absl::Status& status) { return rpc::GetErrorDetails(status).reason; }

ArtifactKey KeyOf(const std::string& path, const std::string& content) {
  return ArtifactKey{"job-1", 1, path, static_cast<int64_t>(content.size()),
                     common::Sha256Hex(content)};
}

class ArtifactStoreTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_OK_AND_ASSIGN(store_, ArtifactStore::Open(directory_ / "artifacts", 1000));
  }
  absl::Status Put(const ArtifactKey& key, const std::string& content) {
    auto upload = store_->Begin(key, 0);
    if (!upload.ok()) return upload.status();
    if (absl::Status status = (*upload)->Append(content); !status.ok()) return status;
    return (*upload)->Finish();
  }
  std::string Content(const ArtifactKey& key) {
    auto reader = store_->Read(key, 0);
    EXPECT_OK(reader);
    std::string content;
    if (reader.ok()) {
      EXPECT_OK((*reader)->Next(&content));
    }
    return content;
  }

  testing::TemporaryDirectory directory_;
  std::unique_ptr<ArtifactStore> store_;
};

TEST_F(ArtifactStoreTest, StoresBelowItsJobAndAttempt) {
  const ArtifactKey key = KeyOf("checkpoints/step-1/manifest.json", "{}");
  ASSERT_OK_AND_ASSIGN(ArtifactState state, store_->GetState(key));
  EXPECT_EQ(state.received_bytes, 0);
  EXPECT_FALSE(state.complete);
  ASSERT_OK(Put(key, "{}"));
  ASSERT_OK_AND_ASSIGN(state, store_->GetState(key));
  EXPECT_EQ(state.received_bytes, 2);
  EXPECT_TRUE(state.complete);
  EXPECT_EQ(Content(key), "{}");
  ASSERT_OK_AND_ASSIGN(const auto files, common::ListFiles(directory_ / "artifacts"));
  ASSERT_EQ(files.size(), 1u);
  EXPECT_EQ(files[0].find("job-1/1/checkpoints/step-1/manifest.json@"), 0u);
}

TEST_F(ArtifactStoreTest, ReaderOfAnothersRootReadsAndCreatesNothing) {
  const std::string root = directory_ / "elsewhere";
  const auto reader = ArtifactStore::OpenToRead(root);
  const ArtifactKey key = KeyOf("adapter/weights", "content");
  EXPECT_EQ(ReasonOf(reader->Read(key, 0).status()), "ARTIFACT_NOT_FOUND");
  EXPECT_FALSE(std::filesystem::exists(root));
  ASSERT_OK_AND_ASSIGN(store_, ArtifactStore::Open(root, 1000));
  ASSERT_OK(Put(key, "content"));
  ASSERT_OK_AND_ASSIGN(const auto content, reader->Read(key, 0));
  std::string chunk;
  ASSERT_OK(content->Next(&chunk));
  EXPECT_EQ(chunk, "content");
}

TEST_F(ArtifactStoreTest, EmptyArtifactIsStored) {
  ASSERT_OK(Put(KeyOf("adapter/empty", ""), ""));
  EXPECT_TRUE(store_->GetState(KeyOf("adapter/empty", "")).value().complete);
}

TEST_F(ArtifactStoreTest, HostilePathsAreRefusedByEveryMethod) {
  for (const std::string& path : std::vector<std::string>{
           "../x", "a/../../x", "/etc/passwd", "", "a//b", "./a", "a/.", std::string("a\0b", 3),
           std::string("a\nb"), std::string(300, 'n'), "d/" + std::string(200, 'n')}) {
    const ArtifactKey key = KeyOf(path, "x");
    EXPECT_EQ(ReasonOf(store_->Begin(key, 0).status()), "PATH_INVALID") << path;
    EXPECT_EQ(ReasonOf(store_->GetState(key).status()), "PATH_INVALID") << path;
    EXPECT_EQ(ReasonOf(store_->Read(key, 0).status()), "PATH_INVALID") << path;
    EXPECT_EQ(ReasonOf(store_->Remove(key)), "PATH_INVALID") << path;
  }
  ArtifactKey key = KeyOf("a", "x");
  key.job_id = "..";
  EXPECT_EQ(ReasonOf(store_->Begin(key, 0).status()), "PATH_INVALID");
  key.job_id = "a/b";
  EXPECT_EQ(ReasonOf(store_->Begin(key, 0).status()), "PATH_INVALID");
  key = KeyOf("a", "x");
  key.attempt = 0;
  EXPECT_EQ(ReasonOf(store_->Begin(key, 0).status()), "PATH_INVALID");
  key = KeyOf("a", "x");
  key.sha256 = "/../../../../tmp/x";
  EXPECT_EQ(ReasonOf(store_->Begin(key, 0).status()), "PATH_INVALID");
  EXPECT_EQ(ReasonOf(store_->RemoveJob("..")), "PATH_INVALID");
  EXPECT_TRUE(common::ListFiles(directory_.path()).value().empty());
}

TEST_F(ArtifactStoreTest, OtherContentUnderTheSamePathIsAnotherArtifact) {
  ASSERT_OK(Put(KeyOf("adapter/config.json", "old"), "old"));
  EXPECT_FALSE(store_->GetState(KeyOf("adapter/config.json", "new!")).value().complete);
  ASSERT_OK(Put(KeyOf("adapter/config.json", "new!"), "new!"));
  EXPECT_EQ(Content(KeyOf("adapter/config.json", "old")), "old");
  EXPECT_EQ(Content(KeyOf("adapter/config.json", "new!")), "new!");
}

TEST_F(ArtifactStoreTest, ArtifactAtTheLimitIsTakenAndOneByteMoreIsNot) {
  EXPECT_OK(store_->Begin(KeyOf("a", std::string(1000, 'x')), 0));
  EXPECT_EQ(ReasonOf(store_->Begin(KeyOf("b", std::string(1001, 'x')), 0).status()),
            "ARTIFACT_TOO_LARGE");
}

TEST_F(ArtifactStoreTest, RemovalTakesWhatItNamesAndNothingElse) {
  ASSERT_OK(Put(KeyOf("checkpoints/step-1/a", "1"), "1"));
  ASSERT_OK(Put(KeyOf("checkpoints/step-2/a", "2"), "2"));
  ArtifactKey other = KeyOf("adapter/a", "3");
  other.job_id = "job-2";
  ASSERT_OK(Put(other, "3"));
  ASSERT_OK(store_->Remove(KeyOf("checkpoints/step-1/a", "1")));
  EXPECT_EQ(ReasonOf(store_->Read(KeyOf("checkpoints/step-1/a", "1"), 0).status()),
            "ARTIFACT_NOT_FOUND");
  EXPECT_EQ(Content(KeyOf("checkpoints/step-2/a", "2")), "2");
  EXPECT_OK(store_->Remove(KeyOf("checkpoints/step-1/a", "1")));
  ASSERT_OK(store_->RemoveJob("job-1"));
  EXPECT_EQ(store_->ListJobs().value(), std::vector<std::string>{"job-2"});
  EXPECT_EQ(Content(other), "3");
}

}  // namespace
}  // namespace longlora::server
