#include "worker/trainer/passkey.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status/status_macros.h"
#include "worker/trainer/model/greedy_decode.h"

namespace longlora::trainer {
namespace {

constexpr char kTask[] =
    "There is an important info hidden inside a lot of irrelevant text. Find it and memorize them. "
    "I will quiz you about the important information there.\n";
constexpr char kFiller[] =
    "The grass is green. The sky is blue. The sun is yellow. Here we go. There and back again. ";
constexpr char kQuestion[] = "\nWhat is the pass key? The pass key is";

std::string Information(int64_t number) {
  return absl::StrCat("\nThe pass key is ", number, ". Remember it. ", number,
                      " is the pass key.\n");
}

// A number of five digits that depends on all three.
int64_t DrawNumber(int64_t seed, int64_t length, int64_t trial) {
  uint64_t state = static_cast<uint64_t>(seed);
  for (const int64_t part : {length, trial}) {
    // SplitMix64.
    state += 0x9e3779b97f4a7c15u * (static_cast<uint64_t>(part) + 1);
    state = (state ^ (state >> 30)) * 0xbf58476d1ce4e5b9u;
    state = (state ^ (state >> 27)) * 0x94d049bb133111ebu;
    state ^= state >> 31;
  }
  return 10000 + static_cast<int64_t>(state % 90000);
}

class PromptMaker {
 public:
  PromptMaker(int64_t seed, const EncodeFunction& encode) : seed_(seed), encode_(encode) {}

  absl::Status Prepare() {
    LONGLORA_ASSIGN_OR_RETURN(task_, encode_(kTask));
    LONGLORA_ASSIGN_OR_RETURN(filler_, encode_(kFiller));
    LONGLORA_ASSIGN_OR_RETURN(question_, encode_(kQuestion));
    if (filler_.empty()) return absl::InvalidArgumentError("the tokenizer knows no English");
    return absl::OkStatus();
  }

  absl::StatusOr<PasskeyPrompt> Make(int64_t length, int64_t trial, int64_t trials) const {
    PasskeyPrompt prompt;
    prompt.length = length;
    prompt.number = DrawNumber(seed_, length, trial);
    prompt.depth = (static_cast<double>(trial) + 0.5) / static_cast<double>(trials);
    LONGLORA_ASSIGN_OR_RETURN(const std::vector<int32_t> information,
                              encode_(Information(prompt.number)));
    const auto around = static_cast<int64_t>(task_.size() + information.size() + question_.size());
    if (length < around) {
      return absl::InvalidArgumentError(absl::StrCat(
          "evaluation.passkey.lengths: ", length, " is too short: task, number and question take ",
          around, " tokens with this model's tokenizer"));
    }
    const int64_t filler = length - around;
    const auto before = static_cast<int64_t>(prompt.depth * static_cast<double>(filler));
    Append(task_, prompt.ids);
    AppendFiller(before, prompt.ids);
    Append(information, prompt.ids);
    AppendFiller(filler - before, prompt.ids);
    Append(question_, prompt.ids);
    LONGLORA_ASSIGN_OR_RETURN(prompt.answer, Answer(prompt.number));
    return prompt;
  }

 private:
  static void Append(const std::vector<int32_t>& from, std::vector<int64_t>& ids) {
    ids.insert(ids.end(), from.begin(), from.end());
  }
  void AppendFiller(int64_t count, std::vector<int64_t>& ids) const {
    for (int64_t i = 0; i < count; ++i) ids.push_back(filler_[i % filler_.size()]);
  }

  // As the tokenizer writes it after the question; a number alone may begin with another token.
  absl::StatusOr<std::vector<int64_t>> Answer(int64_t number) const {
    LONGLORA_ASSIGN_OR_RETURN(const std::vector<int32_t> whole,
                              encode_(absl::StrCat(kQuestion, " ", number)));
    if (whole.size() > question_.size() &&
        std::equal(question_.begin(), question_.end(), whole.begin())) {
      return std::vector<int64_t>(whole.begin() + static_cast<int64_t>(question_.size()),
                                  whole.end());
    }
    LONGLORA_ASSIGN_OR_RETURN(const std::vector<int32_t> alone, encode_(absl::StrCat(" ", number)));
    return std::vector<int64_t>(alone.begin(), alone.end());
  }

  const int64_t seed_;
  const EncodeFunction& encode_;
  std::vector<int32_t> task_;
  std::vector<int32_t> filler_;
  std::vector<int32_t> question_;
};

}  // namespace

absl::StatusOr<std::vector<PasskeyPrompt>> MakePasskeyPrompts(const common::PasskeySpec& spec,
                                                              int64_t seed,
                                                              const EncodeFunction& encode) {
  PromptMaker maker(seed, encode);
  LONGLORA_RETURN_IF_ERROR(maker.Prepare());
  std::vector<PasskeyPrompt> prompts;
  for (const int64_t length : spec.lengths) {
    for (int64_t trial = 0; trial < spec.trials; ++trial) {
      LONGLORA_ASSIGN_OR_RETURN(prompts.emplace_back(), maker.Make(length, trial, spec.trials));
    }
  }
  return prompts;
}

bool AnswersRight(const LlamaModel& model, const PasskeyPrompt& prompt) {
  return GreedyDecode(model, prompt.ids, static_cast<int64_t>(prompt.answer.size())) ==
         prompt.answer;
}

}  // namespace longlora::trainer
