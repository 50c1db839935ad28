// Goal: passkey prompts are exact and repeatable, and an answer counts exactly when greedy decoding
// gives it. Method: a tokenizer of one token a character, so that prompts can be read back as text;
// answers of a tiny random model decoded token by token, each by a forward of its own.
#include "worker/trainer/passkey.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "tests/testing/status_matchers.h"
#include "tests/worker/trainer/model/tiny_llama.h"

namespace longlora::trainer {
namespace {

using ::longlora::testing::StatusIs;

absl::StatusOr<std::vector<int32_t>> Characters(const std::string& text) {
  return std::vector<int32_t>(text.begin(), text.end());
}

std::string TextOf(const std::vector<int64_t>& ids) { return {ids.begin(), ids.end()}; }

TEST(PasskeyPromptTest, IsExactlyAsLongAsAskedAndReadsAsThePaperHasIt) {
  ASSERT_OK_AND_ASSIGN(const std::vector<PasskeyPrompt> prompts,
                       MakePasskeyPrompts({.lengths = {500, 1001}, .trials = 3}, 5, Characters));
  ASSERT_EQ(prompts.size(), 6u);
  for (size_t i = 0; i < prompts.size(); ++i) {
    const PasskeyPrompt& prompt = prompts[i];
    EXPECT_EQ(prompt.length, i < 3 ? 500 : 1001);
    EXPECT_EQ(static_cast<int64_t>(prompt.ids.size()), prompt.length);
    EXPECT_GE(prompt.number, 10000);
    EXPECT_LE(prompt.number, 99999);
    const std::string text = TextOf(prompt.ids);
    EXPECT_TRUE(absl::StartsWith(text, "There is an important info hidden inside a lot of"));
    EXPECT_TRUE(absl::EndsWith(text, "\nWhat is the pass key? The pass key is"));
    EXPECT_TRUE(
        absl::StrContains(text, absl::StrCat("\nThe pass key is ", prompt.number, ". Remember it. ",
                                             prompt.number, " is the pass key.\n")));
    EXPECT_EQ(TextOf(prompt.answer), absl::StrCat(" ", prompt.number));
  }
}

TEST(PasskeyPromptTest, TheNumberLiesAtDepthsThatAreSpreadEvenly) {
  ASSERT_OK_AND_ASSIGN(const std::vector<PasskeyPrompt> prompts,
                       MakePasskeyPrompts({.lengths = {4000}, .trials = 4}, 5, Characters));
  for (size_t i = 0; i < prompts.size(); ++i) {
    const std::string text = TextOf(prompts[i].ids);
    const double place = static_cast<double>(text.find("The pass key is")) / 4000.0;
    EXPECT_NEAR(place, (static_cast<double>(i) + 0.5) / 4.0, 0.05) << i;
  }
}

TEST(PasskeyPromptTest, TheSeedAloneDecides) {
  const auto numbers = [](int64_t seed) {
    const auto prompts = MakePasskeyPrompts({.lengths = {500, 600}, .trials = 3}, seed, Characters);
    EXPECT_OK(prompts.status());
    std::vector<int64_t> found;
    for (const PasskeyPrompt& prompt : *prompts) found.push_back(prompt.number);
    return found;
  };
  EXPECT_EQ(numbers(1), numbers(1));
  EXPECT_NE(numbers(1), numbers(2));
  const std::vector<int64_t> some = numbers(1);
  EXPECT_EQ(std::set<int64_t>(some.begin(), some.end()).size(), some.size());
}

TEST(PasskeyPromptTest, ATooShortLengthNamesTheFieldAndTheNeed) {
  EXPECT_THAT(
      MakePasskeyPrompts({.lengths = {128}, .trials = 1}, 0, Characters),
      StatusIs(absl::StatusCode::kInvalidArgument, "evaluation.passkey.lengths: 128 is too short"));
}

TEST(AnswersRightTest, IsGreedyDecoding) {
  const common::ModelConfig config = TinyConfig();
  ModelOptions options;
  options.dtype = torch::kFloat64;
  const auto model = *LlamaModel::Create(config, RandomWeights(config), options);
  PasskeyPrompt prompt;
  const torch::Tensor ids = torch::randint(config.vocab_size, {20}, torch::kInt64);
  for (int64_t i = 0; i < 20; ++i) prompt.ids.push_back(ids[i].item<int64_t>());
  const torch::NoGradGuard no_grad;
  std::vector<int64_t> text = prompt.ids;
  for (int i = 0; i < 6; ++i) {
    const auto length = static_cast<int64_t>(text.size());
    const ModelInput input = {torch::tensor(text).unsqueeze(0),
                              torch::arange(length).unsqueeze(0),
                              {DenseSegments({0, length})}};
    const torch::Tensor logits =
        model->Forward(input, /*checkpoint_activations=*/false)[0][-1].matmul(model->lm_head().t());
    text.push_back(logits.argmax().item<int64_t>());
  }
  prompt.answer.assign(text.begin() + 20, text.end());
  EXPECT_TRUE(AnswersRight(*model, prompt));
  for (size_t i = 0; i < prompt.answer.size(); ++i) {
    PasskeyPrompt wrong = prompt;
    wrong.answer[i] = (wrong.answer[i] + 1) % config.vocab_size;
    EXPECT_FALSE(AnswersRight(*model, wrong)) << i;
  }
}

}  // namespace
}  // namespace longlora::trainer
