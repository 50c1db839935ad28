// Goal: the tokenizer gives training data as the vocabulary has it, whatever settings were saved
// with it, and says which file is at fault. Method: a hand-computable word-level tokenizer. That
// ids equal transformers' on a real byte-level tokenizer is checked by tokenizer_parity_test.py.
#include "worker/trainer/data/tokenizer.h"

#include <string>
#include <thread>

#include "common/io/files.h"
#include "gmock/gmock.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temporary_directory.h"
#include "tests/worker/trainer/data/word_tokenizer.h"

namespace longlora::trainer {
namespace {

using ::longlora::testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

class TokenizerTest : public ::testing::Test {
 protected:
  TokenizerTest() { WriteWordTokenizer(directory_.path()); }
  void Write(const std::string& name, const std::string& content) {
    ASSERT_OK(common::AtomicWriteFile(directory_ / name, content));
  }
  absl::StatusOr<Tokenizer> Load() { return Tokenizer::Load(directory_.path()); }

  testing::TemporaryDirectory directory_;
};

TEST_F(TokenizerTest, NothingIsAddedTruncatedOrPadded) {
  ASSERT_OK_AND_ASSIGN(const Tokenizer tokenizer, Load());
  EXPECT_THAT(*tokenizer.Encode("one two three nine five"), ElementsAre(1, 2, 3, 6, 5));
  EXPECT_THAT(*tokenizer.Encode(""), IsEmpty());
  EXPECT_EQ(tokenizer.eos_token_id(), 0);
  EXPECT_EQ(tokenizer.vocab_size(), 7);
}

TEST_F(TokenizerTest, BrokenUtf8IsRefused) {
  ASSERT_OK_AND_ASSIGN(const Tokenizer tokenizer, Load());
  EXPECT_THAT(tokenizer.Encode("one \xff"),
              StatusIs(absl::StatusCode::kInvalidArgument, "not UTF-8 from byte 4"));
}

TEST_F(TokenizerTest, EndOfTextTokenIsFoundInEachFile) {
  Write("tokenizer_config.json", R"({"eos_token": {"content": "five", "lstrip": false}})");
  EXPECT_EQ(Load()->eos_token_id(), 5);
  Write("tokenizer_config.json", R"({"eos_token": null})");
  Write("config.json", R"({"eos_token_id": 3})");
  EXPECT_EQ(Load()->eos_token_id(), 3);
  Write("generation_config.json", R"({"eos_token_id": [4, 5]})");
  EXPECT_EQ(Load()->eos_token_id(), 4);
}

TEST_F(TokenizerTest, UnusableFilesAreNamed) {
  Write("tokenizer_config.json", R"({"eos_token": "nine"})");
  EXPECT_THAT(Load(),
              StatusIs(absl::StatusCode::kInvalidArgument, "\"nine\" is not in the vocabulary"));
  Write("tokenizer_config.json", "{}");
  EXPECT_THAT(Load(), StatusIs(absl::StatusCode::kInvalidArgument, "names an end-of-text token"));
  Write("config.json", "[");
  EXPECT_THAT(Load(),
              StatusIs(absl::StatusCode::kInvalidArgument, "config.json: not a JSON object"));
  Write("tokenizer.json", "{\"model\": 1}");
  EXPECT_THAT(Load(), StatusIs(absl::StatusCode::kInvalidArgument, "tokenizer.json: "));
  EXPECT_THAT(Tokenizer::Load(directory_ / "absent"),
              StatusIs(absl::StatusCode::kNotFound, "tokenizer.json"));
}

TEST_F(TokenizerTest, ThreadsMayEncodeAtOnce) {
  ASSERT_OK_AND_ASSIGN(const Tokenizer tokenizer, Load());
  std::vector<std::thread> threads;
  std::atomic<int> num_right = 0;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int k = 0; k < 200; ++k) {
        num_right += *tokenizer.Encode("four three two") == std::vector<int32_t>{4, 3, 2};
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(num_right, 800);
}

}  // namespace
}  // namespace longlora::trainer
