// Goal: a line that the trainer could not use is found at submit, with its number and in words;
// good files pass, and are read once only. Method: tables of lines, then files in a store.
#include "server/api/dataset_check.h"

#include <gtest/gtest.h>

#include "common/io/files.h"
#include "common/io/sha256.h"
#include "gmock/gmock.h"
#include "rpc/grpc_status.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temporary_directory.h"

namespace longlora::server {
namespace {

using common::DatasetFormat;
using ::longlora::testing::StatusIs;

struct Line {
  DatasetFormat format;
  std::string text;
  std::string problem;  // empty: the line is fine
};

TEST(CheckDatasetLineTest, TellsGoodLinesFromBadOnes) {
  const std::vector<Line> lines = {
      {DatasetFormat::kText, R"({"text": "a"})", ""},
      {DatasetFormat::kText, R"({"meta": {"text": 1}, "text": "", "id": [1, {"text": 2}]})", ""},
      {DatasetFormat::kText, R"({"text": "\u00e9\ud83d\ude00 é"})", ""},
      {DatasetFormat::kText, R"({"txt": "a"})", "lacks the key \"text\""},
      {DatasetFormat::kText, R"({"text": 1})", "\"text\" must be a string"},
      {DatasetFormat::kText, R"({"text": null})", "\"text\" must be a string"},
      {DatasetFormat::kText, R"({"text": {"text": "a"}})", "\"text\" must be a string"},
      {DatasetFormat::kText, R"(["text"])", "must be a JSON object"},
      {DatasetFormat::kText, R"("text")", "must be a JSON object"},
      {DatasetFormat::kText, R"([{"text": "a"}])", "must be a JSON object"},
      {DatasetFormat::kText, R"({"text": "a")", "broken JSON at column 13"},
      {DatasetFormat::kText, R"({"text": "a"} x)", "broken JSON at column 15"},
      {DatasetFormat::kText, R"({"text": "a"} {"text": "b"})", "broken JSON"},
      {DatasetFormat::kText, "{\"text\": \"\xff\xfe\"}", "broken JSON"},
      {DatasetFormat::kText, std::string("{\"text\": \"\0\"}", 12), "broken JSON"},
      {DatasetFormat::kText, R"({'text': 'a'})", "broken JSON"},
      {DatasetFormat::kText, std::string(100'000, '['), "broken JSON"},
      {DatasetFormat::kTokens, R"({"input_ids": [1, 2]})", ""},
      {DatasetFormat::kTokens, R"({"labels": [-100, 2], "input_ids": [1, 2]})", ""},
      {DatasetFormat::kTokens, R"({"input_ids": []})", "\"input_ids\" is empty"},
      {DatasetFormat::kTokens, R"({"input_ids": [1, 2.5]})", "a list of integers"},
      {DatasetFormat::kTokens, R"({"input_ids": [1, "2"]})", "a list of integers"},
      {DatasetFormat::kTokens, R"({"input_ids": [[1], 2]})", "a list of integers"},
      {DatasetFormat::kTokens, R"({"input_ids": "12"})", "a list of integers"},
      {DatasetFormat::kTokens, R"({"input_ids": 5})", "a list of integers"},
      {DatasetFormat::kTokens, R"({"input_ids": [1, 2], "labels": [1]})", "\"labels\" has 1"},
      {DatasetFormat::kTokens, R"({"input_ids": [1], "labels": [null]})", "a list of integers"},
      {DatasetFormat::kInstruction, R"({"instruction": "a", "output": "b"})", ""},
      {DatasetFormat::kInstruction, R"({"instruction": "a", "input": 1, "output": "b"})",
       "\"input\" must be a string"},
      {DatasetFormat::kInstruction, R"({"instruction": "a", "input": null, "output": "b"})", ""},
      {DatasetFormat::kInstruction, R"({"instruction": null, "output": "b"})", "must be a string"},
      {DatasetFormat::kInstruction, R"({"instruction": "a"})", "lacks the key \"output\""},
      {DatasetFormat::kChat, R"({"messages": [{"role": "user", "content": "a"}]})", ""},
      {DatasetFormat::kChat, R"({"messages": []})", "\"messages\" is empty"},
      {DatasetFormat::kChat, R"({"messages": "a"})", "\"messages\" must be a list"},
  };
  for (const Line& line : lines) {
    SCOPED_TRACE(line.text.substr(0, 60));
    if (line.problem.empty()) {
      EXPECT_OK(CheckDatasetLine(line.text, line.format));
    } else {
      EXPECT_THAT(CheckDatasetLine(line.text, line.format),
                  StatusIs(absl::StatusCode::kInvalidArgument, line.problem));
    }
  }
}

TEST(CheckDatasetLineTest, MessagesStayShortAndPrintable) {
  const absl::Status status = CheckDatasetLine(
      "{\"text\": \"a\" \x1b[31m" + std::string(1'000'000, 'x'), DatasetFormat::kText);
  EXPECT_LT(status.message().size(), 400u);
  EXPECT_EQ(std::string(status.message()).find('\x1b'), std::string::npos);
}

class DatasetCheckTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_OK_AND_ASSIGN(files_, FileStore::Open(directory_ / "files", 1 << 30));
    check_ = std::make_unique<DatasetCheck>(files_.get());
  }
  std::string Store(const std::string& content) {
    const std::string sha256 = common::Sha256Hex(content);
    EXPECT_OK(common::AtomicWriteFile(directory_ / ("files/" + sha256), content));
    return "files/" + sha256;
  }
  absl::Status Check(const std::string& name) {
    return check_->Check("dataset.training", name, DatasetFormat::kText);
  }

  testing::TemporaryDirectory directory_;
  std::unique_ptr<FileStore> files_;
  std::unique_ptr<DatasetCheck> check_;
};

TEST_F(DatasetCheckTest, LinesAreCountedAcrossChunksWithBlankOnes) {
  // Each line is longer than a chunk is deep into the next: borders fall everywhere.
  std::string content;
  for (int i = 0; i < 40; ++i) {
    content += "{\"text\": \"" + std::string(100'000, 'a' + i % 26) + "\"}\r\n\n";
  }
  EXPECT_OK(Check(Store(content)));
  EXPECT_OK(Check(Store(content + "{\"text\": \"no line break at the end\"}")));
  const absl::Status status = Check(Store(content + "{\"text\": "));
  EXPECT_EQ(rpc::GetErrorDetails(status).reason, "FILE_INVALID");
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kInvalidArgument, "line 81: broken JSON"));
}

TEST_F(DatasetCheckTest, FilesWithoutADocumentAreEmpty) {
  EXPECT_THAT(Check(Store("\n\n \t\r\n")), StatusIs(absl::StatusCode::kInvalidArgument, "empty"));
}

TEST_F(DatasetCheckTest, PackedFilesPassUnreadUnlessTheyCannotHoldAnything) {
  const std::string big(3 << 20, 'x');  // over several chunks
  for (const std::string& magic : {std::string("\x1f\x8b"), std::string("\x28\xb5\x2f\xfd"),
                                   std::string("\x50\x2a\x4d\x18")}) {
    EXPECT_OK(Check(Store(magic + big)));
    EXPECT_THAT(Check(Store(magic + "x")), StatusIs(absl::StatusCode::kInvalidArgument, "empty"));
  }
  EXPECT_OK(Check(Store("PAR1" + big + "PAR1")));
  EXPECT_THAT(Check(Store("PAR1" + big)),
              StatusIs(absl::StatusCode::kInvalidArgument, "the Parquet file is cut short"));
  EXPECT_THAT(Check(Store("PAR1")),
              StatusIs(absl::StatusCode::kInvalidArgument, "the Parquet file is cut short"));
}

TEST_F(DatasetCheckTest, OneDocumentOfManyMegabytesPasses) {
  EXPECT_OK(Check(Store("{\"text\": \"" + std::string(20 << 20, 'x') + "\"}")));
}

TEST_F(DatasetCheckTest, VerdictIsRememberedForTheFormatItWasMadeFor) {
  const std::string name = Store("{\"text\": \"a\"}\n");
  ASSERT_OK(Check(name));
  // A file never changes; were it read again, this would be noticed.
  ASSERT_OK(common::AtomicWriteFile(directory_ / name, "broken"));
  EXPECT_OK(Check(name));
  EXPECT_FALSE(check_->Check("dataset.training", name, DatasetFormat::kTokens).ok());
  ASSERT_OK(common::RemoveAll(directory_ / name));
  EXPECT_EQ(rpc::GetErrorDetails(Check(name)).reason, "FILE_NOT_FOUND");
}

}  // namespace
}  // namespace longlora::server
