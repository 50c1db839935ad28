// Goal: a file has its name only when it is whole and right; broken downloads go on where they
// stopped; nothing is written outside the directory. Method: a fake server that breaks and corrupts
// streams.
#include "client/download.h"

#include <filesystem>
#include <fstream>
#include <sstream>

#include "common/io/files.h"
#include "common/io/sha256.h"
#include "gmock/gmock.h"
#include "tests/client/test_client.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temporary_directory.h"

namespace longlora::client {
namespace {

using ::longlora::testing::StatusIs;
using ::longlora::testing::TemporaryDirectory;
using ::testing::ElementsAre;

constexpr char kName[] = "fineTuneJobs/some-job";

std::string Content(size_t size) {
  std::string content(size, '\0');
  for (size_t i = 0; i < size; ++i) content[i] = static_cast<char>('a' + (i * 7 + i / 101) % 26);
  return content;
}

class DownloadTest : public ::testing::Test {
 protected:
  DownloadTest() { server_.AddJob("some-job", v1::FineTuneJob::SUCCEEDED); }

  absl::StatusOr<DownloadSummary> Run() {
    absl::StatusOr<v1::ListArtifactsResponse> list = client_->ListArtifacts(kName);
    EXPECT_OK(list);
    return Download(*client_, kName, {list->artifacts().begin(), list->artifacts().end()},
                    directory_ / "to", nullptr);
  }
  std::string Read(const std::string& path) {
    absl::StatusOr<std::string> content =
        common::ReadFile(absl::StrCat(directory_ / "to", "/", path), 1 << 20);
    return content.ok() ? *content : std::string(content.status().message());
  }
  std::vector<std::string> Files() {
    absl::StatusOr<std::vector<std::string>> files = common::ListFiles(directory_ / "to");
    return files.ok() ? *files : std::vector<std::string>();
  }

  TemporaryDirectory directory_;
  FakeServer server_;
  std::unique_ptr<FineTuneClient> client_ = MakeTestClient(server_);
};

TEST_F(DownloadTest, WritesEveryFileUnderItsPathAndFetchesItOnce) {
  server_.AddArtifact("some-job", "adapter/adapter_config.json", "{}");
  server_.AddArtifact("some-job", "adapter/adapter_model.safetensors", Content(3500));
  server_.AddArtifact("some-job", "merged/empty", "");
  ASSERT_OK_AND_ASSIGN(const DownloadSummary first, Run());
  EXPECT_EQ(first.files, 3);
  EXPECT_EQ(first.received_bytes, 3502);
  EXPECT_EQ(Read("adapter/adapter_model.safetensors"), Content(3500));
  EXPECT_THAT(Files(), ElementsAre("adapter/adapter_config.json",
                                   "adapter/adapter_model.safetensors", "merged/empty"));
  ASSERT_OK_AND_ASSIGN(const DownloadSummary second, Run());
  EXPECT_EQ(second.files_present, 3);
  EXPECT_EQ(second.received_bytes, 0);
}

TEST_F(DownloadTest, GoesOnFromTheByteWhereTheStreamBroke) {
  server_.AddArtifact("some-job", "weights", Content(4500));
  server_.BreakStreamsAfter({2, 0, 1});
  EXPECT_OK(Run());
  EXPECT_EQ(Read("weights"), Content(4500));
  EXPECT_THAT(server_.download_offsets(), ElementsAre(0, 2000, 2000, 3000));
}

TEST_F(DownloadTest, ALaterCallGoesOnFromThePartialFile) {
  server_.AddArtifact("some-job", "weights", Content(4500));
  server_.BreakStreamsAfter({2, 0, 0, 0, 0, 0});
  EXPECT_THAT(Run(), StatusIs(absl::StatusCode::kUnavailable, "weights"));
  EXPECT_THAT(Files(), ElementsAre("weights.partial"));
  server_.BreakStreamsAfter({});
  ASSERT_OK_AND_ASSIGN(const DownloadSummary summary, Run());
  EXPECT_EQ(summary.received_bytes, 2500);
  EXPECT_EQ(Read("weights"), Content(4500));
  EXPECT_THAT(Files(), ElementsAre("weights"));
}

TEST_F(DownloadTest, CorruptBytesAreFetchedAnew) {
  server_.AddArtifact("some-job", "weights", Content(4500));
  server_.CorruptNextDownload();
  EXPECT_OK(Run());
  EXPECT_EQ(Read("weights"), Content(4500));
  EXPECT_THAT(server_.download_offsets(), ElementsAre(0, 0));
}

TEST_F(DownloadTest, PartialFileOfSomethingElseIsReplaced) {
  server_.AddArtifact("some-job", "weights", Content(4500));
  std::filesystem::create_directories(directory_ / "to");
  std::ofstream(directory_ / "to/weights.partial") << std::string(1000, 'x');
  EXPECT_OK(Run());
  EXPECT_EQ(Read("weights"), Content(4500));
  EXPECT_THAT(server_.download_offsets(), ElementsAre(1000, 0));
}

TEST_F(DownloadTest, WrongDigestTwiceLeavesNoFile) {
  server_.AddArtifact("some-job", "weights", Content(4500));
  v1::Artifact lie;
  lie.set_path("weights");
  lie.set_size_bytes(4500);
  lie.set_sha256(common::Sha256Hex("something else"));
  EXPECT_THAT(Download(*client_, kName, {lie}, directory_ / "to", nullptr),
              StatusIs(absl::StatusCode::kDataLoss, "weights"));
  EXPECT_THAT(Files(), ::testing::Not(::testing::Contains("weights")));
}

TEST_F(DownloadTest, PathsThatLeaveTheDirectoryAreRefusedBeforeAnythingIsWritten) {
  for (const std::string path :
       {"../evil", "/etc/evil", "a/../../evil", "a//b", "", "a\nb", "weights.partial"}) {
    v1::Artifact good;
    good.set_path("good");
    v1::Artifact evil;
    evil.set_path(path);
    EXPECT_THAT(Download(*client_, kName, {good, evil}, directory_ / "to", nullptr),
                StatusIs(absl::StatusCode::kInvalidArgument, "not a safe path"))
        << path;
  }
  EXPECT_FALSE(std::filesystem::exists(directory_ / "to"));
}

TEST_F(DownloadTest, LinkInTheWayIsNotFollowed) {
  server_.AddArtifact("some-job", "weights", Content(100));
  std::filesystem::create_directories(directory_ / "to");
  std::filesystem::create_symlink(directory_ / "victim", directory_ / "to/weights.partial");
  EXPECT_FALSE(Run().ok());
  EXPECT_FALSE(std::filesystem::exists(directory_ / "victim"));
}

}  // namespace
}  // namespace longlora::client
