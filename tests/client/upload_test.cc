// Goal: a file reaches the server whole, once, whatever breaks. Method: a fake server that stores
// what it gets, breaks streams after a told number of chunks and counts calls.
#include "client/upload.h"

#include <unistd.h>

#include <fstream>

#include "client/resource_name.h"
#include "common/io/sha256.h"
#include "gmock/gmock.h"
#include "tests/client/test_client.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temporary_directory.h"

namespace longlora::client {
namespace {

using ::longlora::testing::StatusIs;
using ::longlora::testing::TemporaryDirectory;

// Content over several chunks, each different.
std::string Content(size_t size) {
  std::string content(size, '\0');
  for (size_t i = 0; i < size; ++i) content[i] = static_cast<char>('a' + (i * 7 + i / 4099) % 26);
  return content;
}

class UploadTest : public ::testing::Test {
 protected:
  LocalFile Write(const std::string& content) {
    const std::string path = directory_ / "data.jsonl";
    std::ofstream(path, std::ios::binary) << content;
    absl::StatusOr<LocalFile> file = InspectFile(path);
    EXPECT_OK(file);
    return *file;
  }

  TemporaryDirectory directory_;
  FakeServer server_;
  std::unique_ptr<FineTuneClient> client_ = MakeTestClient(server_);
};

TEST_F(UploadTest, SendsAFileOnceAndThenOnlyAsks) {
  const std::string content = Content(1'300'000);
  const LocalFile file = Write(content);
  EXPECT_EQ(file.sha256, common::Sha256Hex(content));
  ASSERT_OK_AND_ASSIGN(const UploadResult first, UploadFile(*client_, file, nullptr));
  EXPECT_EQ(first.name, FileName(file.sha256));
  EXPECT_EQ(first.sent_bytes, 1'300'000);
  EXPECT_EQ(server_.files()[first.name], content);
  ASSERT_OK_AND_ASSIGN(const UploadResult second, UploadFile(*client_, file, nullptr));
  EXPECT_EQ(second.sent_bytes, 0);
  EXPECT_EQ(server_.calls("UploadFile"), 1);
}

TEST_F(UploadTest, GoesOnWhereABrokenStreamStopped) {
  const std::string content = Content(2'000'000);
  const LocalFile file = Write(content);
  server_.BreakStreamsAfter({1, 2});
  std::vector<int64_t> sent;
  ASSERT_OK_AND_ASSIGN(
      const UploadResult result,
      UploadFile(*client_, file, [&](const LocalFile&, int64_t bytes) { sent.push_back(bytes); }));
  EXPECT_EQ(server_.files()[result.name], content);
  EXPECT_EQ(server_.calls("UploadFile"), 3);
  EXPECT_EQ(sent.front(), 0);
  EXPECT_EQ(sent.back(), 2'000'000);
}

TEST_F(UploadTest, GivesUpWhenNoByteArrives) {
  server_.BreakStreamsAfter(std::vector<int>(100, 0));
  EXPECT_THAT(UploadFile(*client_, Write(Content(1000)), nullptr),
              StatusIs(absl::StatusCode::kUnavailable, "data.jsonl"));
  EXPECT_EQ(server_.calls("UploadFile"), RetryPolicy().attempts);
}

TEST_F(UploadTest, FileThatChangedMeanwhileIsSaidSo) {
  const LocalFile file = Write(Content(1000));
  std::ofstream(file.path, std::ios::binary) << Content(999) << "!";
  EXPECT_THAT(UploadFile(*client_, file, nullptr),
              StatusIs(absl::StatusCode::kInvalidArgument, "changed while it was uploaded"));
}

TEST_F(UploadTest, InspectRefusesWhatCannotBeADataset) {
  EXPECT_THAT(InspectFile(directory_ / "none"),
              StatusIs(absl::StatusCode::kInvalidArgument, "none"));
  EXPECT_THAT(InspectFile(directory_.path()),
              StatusIs(absl::StatusCode::kInvalidArgument, "not a regular file"));
  std::ofstream(directory_ / "empty").flush();
  EXPECT_THAT(InspectFile(directory_ / "empty"),
              StatusIs(absl::StatusCode::kInvalidArgument, "is empty"));
}

}  // namespace
}  // namespace longlora::client
