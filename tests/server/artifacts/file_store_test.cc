// Goal: a dataset file is either stored whole and right, or not at all, however its upload goes.
// Method: a real directory; uploads that are cut, resumed, damaged, raced or lied about.
#include "server/artifacts/file_store.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>
#include <string>

#include "common/io/files.h"
#include "common/io/sha256.h"
#include "rpc/grpc_status.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temporary_directory.h"

namespace longlora::server {
namespace {

using ::longlora::testing::StatusIs;

constexpr int64_t kMaxFileBytes = 10 << 20;

std::string ReasonOf(const absl::Status& status) { return rpc::GetErrorDetails(status).reason; }

class FileStoreTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_OK_AND_ASSIGN(store_, FileStore::Open(directory_ / "files", kMaxFileBytes));
  }
  absl::Status Put(const std::string& content) {
    auto upload =
        store_->Begin(common::Sha256Hex(content), static_cast<int64_t>(content.size()), 0);
    if (!upload.ok()) return upload.status();
    if (*upload == nullptr) return absl::OkStatus();
    if (absl::Status status = (*upload)->Append(content); !status.ok()) return status;
    return (*upload)->Finish();
  }
  std::string Content(const std::string& sha256, int64_t offset) {
    auto reader = store_->Read(sha256, offset);
    EXPECT_OK(reader);
    if (!reader.ok()) return "";
    std::string content;
    std::string chunk;
    while ((*reader)->Next(&chunk).value()) content += chunk;
    return content;
  }

  testing::TemporaryDirectory directory_;
  std::unique_ptr<FileStore> store_;
};

TEST_F(FileStoreTest, StoredFileIsReadFromAnyOffset) {
  const std::string content(3'000'000, 'x');
  ASSERT_OK(Put(content));
  const std::string sha256 = common::Sha256Hex(content);
  EXPECT_EQ(Content(sha256, 0), content);
  EXPECT_EQ(Content(sha256, 2'999'999), "x");
  EXPECT_EQ(Content(sha256, 3'000'000), "");
  EXPECT_EQ(ReasonOf(store_->Read(sha256, 3'000'001).status()), "OFFSET_BEYOND_END");
  EXPECT_EQ(ReasonOf(store_->Read(sha256, -1).status()), "OFFSET_BEYOND_END");
}

TEST_F(FileStoreTest, UnknownFileIsNotFound) {
  const std::string sha256 = common::Sha256Hex("never");
  EXPECT_EQ(ReasonOf(store_->Get(sha256).status()), "FILE_NOT_FOUND");
  EXPECT_EQ(ReasonOf(store_->Read(sha256, 0).status()), "FILE_NOT_FOUND");
}

TEST_F(FileStoreTest, BrokenUploadGoesOnWhereItStopped) {
  const std::string content = "the first half, the second half";
  const std::string sha256 = common::Sha256Hex(content);
  const auto size = static_cast<int64_t>(content.size());
  {
    ASSERT_OK_AND_ASSIGN(auto upload, store_->Begin(sha256, size, 0));
    ASSERT_OK(upload->Append(content.substr(0, 16)));
    // Nobody can use what is not whole.
    EXPECT_EQ(ReasonOf(store_->Read(sha256, 0).status()), "FILE_NOT_FOUND");
  }
  ASSERT_OK_AND_ASSIGN(const StoredFile partial, store_->Get(sha256));
  EXPECT_EQ(partial.received_bytes, 16);
  EXPECT_EQ(partial.size_bytes, size);
  EXPECT_FALSE(partial.complete);
  EXPECT_EQ(ReasonOf(store_->Begin(sha256, size, 15).status()), "OFFSET_INVALID");
  ASSERT_OK_AND_ASSIGN(auto upload, store_->Begin(sha256, size, 16));
  ASSERT_OK(upload->Append(content.substr(16)));
  ASSERT_OK(upload->Finish());
  EXPECT_EQ(Content(sha256, 0), content);
}

TEST_F(FileStoreTest, SecondUploadOfTheSameContentStoresNothing) {
  ASSERT_OK(Put("same"));
  ASSERT_OK_AND_ASSIGN(auto upload, store_->Begin(common::Sha256Hex("same"), 4, 0));
  EXPECT_EQ(upload, nullptr);
}

TEST_F(FileStoreTest, DamagedContentIsRefusedAndForgotten) {
  const std::string sha256 = common::Sha256Hex("right");
  ASSERT_OK_AND_ASSIGN(auto upload, store_->Begin(sha256, 5, 0));
  ASSERT_OK(upload->Append("wrong"));
  const absl::Status status = upload->Finish();
  EXPECT_EQ(ReasonOf(status), "DIGEST_MISMATCH");
  upload.reset();
  EXPECT_EQ(ReasonOf(store_->Read(sha256, 0).status()), "FILE_NOT_FOUND");
  EXPECT_EQ(ReasonOf(store_->Get(sha256).status()), "FILE_NOT_FOUND");
  EXPECT_OK(Put("right"));
}

TEST_F(FileStoreTest, SizeMustBeTheAnnouncedOne) {
  const std::string sha256 = common::Sha256Hex("12345");
  ASSERT_OK_AND_ASSIGN(auto upload, store_->Begin(sha256, 4, 0));
  EXPECT_EQ(ReasonOf(upload->Append("12345")), "SIZE_MISMATCH");
  EXPECT_EQ(ReasonOf(upload->Finish()), "SIZE_MISMATCH");
  EXPECT_EQ(ReasonOf(store_->Begin(sha256, 0, 0).status()), "SIZE_MISMATCH");
  EXPECT_EQ(ReasonOf(store_->Begin(sha256, -1, 0).status()), "SIZE_MISMATCH");
  ASSERT_OK(Put("12345"));
  EXPECT_EQ(ReasonOf(store_->Begin(sha256, 6, 0).status()), "SIZE_MISMATCH");
}

TEST_F(FileStoreTest, FileAtTheLimitIsTakenAndOneByteMoreIsNot) {
  const std::string sha256 = common::Sha256Hex("x");
  EXPECT_OK(store_->Begin(sha256, kMaxFileBytes, 0));
  EXPECT_EQ(ReasonOf(store_->Begin(sha256, kMaxFileBytes + 1, 0).status()), "FILE_TOO_LARGE");
}

TEST_F(FileStoreTest, TwoUploadsOfTheSameContentDoNotMix) {
  const std::string sha256 = common::Sha256Hex("abcd");
  ASSERT_OK_AND_ASSIGN(auto first, store_->Begin(sha256, 4, 0));
  ASSERT_OK(first->Append("ab"));
  EXPECT_THAT(store_->Begin(sha256, 4, 0), StatusIs(absl::StatusCode::kUnavailable, "going on"));
  ASSERT_OK(first->Append("cd"));
  ASSERT_OK(first->Finish());
  EXPECT_EQ(Content(sha256, 0), "abcd");
  EXPECT_NE(access((directory_ / ("files/partial/" + sha256)).c_str(), F_OK), 0);
}

TEST_F(FileStoreTest, SymbolicLinkInThePlaceOfAPartialFileIsNotFollowed) {
  const std::string sha256 = common::Sha256Hex("abcd");
  const std::string victim = directory_ / "victim";
  std::ofstream(victim) << "precious";
  ASSERT_OK(common::CreateDirectories(directory_ / ("files/partial/" + sha256)));
  ASSERT_EQ(symlink(victim.c_str(), (directory_ / ("files/partial/" + sha256 + "/4")).c_str()), 0);
  EXPECT_FALSE(store_->Begin(sha256, 4, 0).ok());
  EXPECT_EQ(common::ReadFile(victim, 100).value(), "precious");
}

}  // namespace
}  // namespace longlora::server
