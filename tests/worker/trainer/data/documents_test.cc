// Goal: a dataset file becomes exactly the tokens it says, and whatever is wrong with it is told
// with its file and line. Method: small JSON-lines files, a word-level tokenizer written out as
// tokenizer.json.
#include <string>

#include "common/io/files.h"
#include "gmock/gmock.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temporary_directory.h"
#include "tests/worker/trainer/data/word_tokenizer.h"
#include "worker/trainer/data/read_documents.h"

namespace longlora::trainer {
namespace {

using ::longlora::testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class DocumentsTest : public ::testing::Test {
 protected:
  absl::StatusOr<Documents> Read(const std::string& content, common::DatasetFormat format) {
    EXPECT_OK(common::AtomicWriteFile(directory_ / "data.jsonl", content));
    DocumentsOptions options;
    options.path = directory_ / "data.jsonl";
    options.example.format = format;
    options.example.vocab_size = 10;
    options.record_bytes_max = 200;
    options.num_threads = 3;
    if (!tokenizer_) {
      WriteWordTokenizer(directory_.path());
      auto loaded = Tokenizer::Load(directory_.path());
      EXPECT_OK(loaded);
      tokenizer_ = std::make_unique<Tokenizer>(*std::move(loaded));
    }
    options.example.tokenizer = tokenizer_.get();
    return ReadDocuments(options);
  }
  absl::StatusOr<Documents> ReadText(const std::string& content) {
    return Read(content, common::DatasetFormat::kText);
  }
  absl::StatusOr<Documents> ReadTokens(const std::string& content) {
    return Read(content, common::DatasetFormat::kTokens);
  }
  void ExpectRefused(const absl::StatusOr<Documents>& documents, const std::string& line,
                     const std::string& reason) {
    EXPECT_THAT(documents, StatusIs(absl::StatusCode::kInvalidArgument, reason));
    EXPECT_THAT(std::string(documents.status().message()),
                HasSubstr("data.jsonl line " + line + ": "));
  }

  testing::TemporaryDirectory directory_;
  std::unique_ptr<Tokenizer> tokenizer_;
};

TEST_F(DocumentsTest, TextIsTokenizedAndEndsWithTheEndOfTextToken) {
  ASSERT_OK_AND_ASSIGN(
      const Documents documents,
      ReadText("{\"text\": \"one two\"}\n\n  \r\n{\"text\": \"three\", \"id\": 7}"));
  ASSERT_EQ(documents.num_documents(), 2);
  EXPECT_THAT(documents.ids(0), ElementsAre(1, 2, 0));
  EXPECT_THAT(documents.ids(1), ElementsAre(3, 0));
  EXPECT_THAT(documents.labels(1), ElementsAre(3, 0));
  EXPECT_EQ(documents.record(1).line, 4);
  EXPECT_EQ(documents.num_tokens(), 5);
}

TEST_F(DocumentsTest, DocumentsWithoutTextAreLeftOutAndCounted) {
  ASSERT_OK_AND_ASSIGN(const Documents documents,
                       ReadText("{\"text\": \"one\"}\n{\"text\": \"\"}\n{\"text\": \"\"}\n"));
  EXPECT_EQ(documents.num_documents(), 1);
  EXPECT_EQ(documents.skipped().count, 2);
  EXPECT_EQ(documents.skipped().first_line, 2);
}

TEST_F(DocumentsTest, TokensKeepTheirLabelsAndOthersLabelThemselves) {
  ASSERT_OK_AND_ASSIGN(const Documents documents,
                       ReadTokens("{\"input_ids\": [1, 2]}\n"
                                  "{\"input_ids\": [3, 4, 5], \"labels\": [-100, -100, 5]}\n"
                                  "{\"input_ids\": [6, 7]}\n"));
  ASSERT_EQ(documents.num_documents(), 3);
  EXPECT_THAT(documents.ids(1), ElementsAre(3, 4, 5));
  EXPECT_THAT(documents.labels(0), ElementsAre(1, 2));
  EXPECT_THAT(documents.labels(1), ElementsAre(-100, -100, 5));
  EXPECT_THAT(documents.labels(2), ElementsAre(6, 7));
}

TEST_F(DocumentsTest, BrokenLinesAreRefusedWithTheirNumber) {
  ExpectRefused(ReadText("{\"text\": \"one\"}\n\n{\"text\": \n"), "3", "broken JSON");
  ExpectRefused(ReadText("[1]\n"), "1", "expected a JSON object");
  ExpectRefused(ReadText("{\"text\": \"one\", \"n\": 1e999}\n"), "1", "larger than any");
  ExpectRefused(ReadText("{\"txt\": \"one\"}\n"), "1", "key \"text\" is missing");
  ExpectRefused(ReadText("{\"text\": 5}\n"), "1", "not a string");
  ExpectRefused(ReadText("{\"text\": \"\xff\"}\n"), "1", "broken JSON");
  ExpectRefused(ReadText("{}\n{\"text\": \"" + std::string(300, 'a') + "\"}"), "1", "missing");
  ExpectRefused(ReadText("{\"text\": \"one\"}\n" + std::string(300, ' ')), "2",
                "longer than 200 bytes");
}

TEST_F(DocumentsTest, ImpossibleTokensAreRefusedWithTheirPlace) {
  ExpectRefused(ReadTokens("{\"text\": \"one\"}"), "1", "key \"input_ids\" is missing");
  ExpectRefused(ReadTokens("{\"input_ids\": 5}"), "1", "\"input_ids\" is not a list");
  ExpectRefused(ReadTokens("{\"input_ids\": [1, 10]}"), "1",
                "\"input_ids\"[1] is 10; the model's vocab_size is 10");
  ExpectRefused(ReadTokens("{\"input_ids\": [1, -1]}"), "1", "\"input_ids\"[1] is -1");
  ExpectRefused(ReadTokens("{\"input_ids\": [1, -100]}"), "1", "\"input_ids\"[1] is -100");
  ExpectRefused(ReadTokens("{\"input_ids\": [1, 2.5]}"), "1",
                "\"input_ids\"[1] is no 32-bit integer: 2.5");
  ExpectRefused(ReadTokens("{\"input_ids\": [1, 4294967296]}"), "1", "no 32-bit integer");
  ExpectRefused(ReadTokens("{\"input_ids\": [1, 2], \"labels\": [1]}"), "1",
                "\"labels\" holds 1 numbers");
  ExpectRefused(ReadTokens("{\"input_ids\": [1, 2], \"labels\": [1, -7]}"), "1",
                "\"labels\"[1] is -7");
}

TEST_F(DocumentsTest, ExamplesWithoutTargetAreRefused) {
  ExpectRefused(ReadTokens("{\"input_ids\": [1]}"), "1", "nothing to predict");
  ExpectRefused(ReadTokens("{\"input_ids\": []}"), "1", "nothing to predict");
  // The first label is never a target: there is no token before it.
  ExpectRefused(ReadTokens("{\"input_ids\": [1, 2], \"labels\": [1, -100]}"), "1",
                "names no target");
}

TEST_F(DocumentsTest, EmptyAndAbsentDatasetsAreErrors) {
  EXPECT_THAT(ReadText(""), StatusIs(absl::StatusCode::kInvalidArgument, "the dataset is empty"));
  EXPECT_THAT(ReadText("\n \n"),
              StatusIs(absl::StatusCode::kInvalidArgument, "the dataset is empty"));
  EXPECT_THAT(ReadText("{\"text\": \"\"}\n"),
              StatusIs(absl::StatusCode::kInvalidArgument, "no document with text"));
  DocumentsOptions options;
  options.path = directory_ / "absent.jsonl";
  options.example.format = common::DatasetFormat::kTokens;
  EXPECT_THAT(ReadDocuments(options), StatusIs(absl::StatusCode::kNotFound, "absent.jsonl"));
}

// Reading goes by blocks of 1 MiB; a line may lie across their border.
TEST_F(DocumentsTest, LinesAcrossReadBlocksStayWhole) {
  std::string content;
  const std::string line = "{\"input_ids\": [1, 2, 3, 4, 5, 6, 7]}\n";
  const size_t num_lines = (size_t{5} << 20) / 2 / line.size();
  for (size_t i = 0; i < num_lines; ++i) content += line;
  ASSERT_OK_AND_ASSIGN(const Documents documents, ReadTokens(content));
  EXPECT_EQ(documents.num_documents(), static_cast<int64_t>(num_lines));
  EXPECT_EQ(documents.num_tokens(), static_cast<int64_t>(7 * num_lines));
}

}  // namespace
}  // namespace longlora::trainer
