// Passkey retrieval (Mohtashami & Jaggi 2023, arXiv 2305.16300): a number hidden in a long filler
// text is asked for at the end. Shows whether the model uses its whole context. The texts are those
// of LongLoRA's passkey_retrivial.py; prompts are exact to the token and the same for the same
// seed. Called by the loop before the first and after the last step.
#ifndef LONGLORA_WORKER_TRAINER_PASSKEY_H_
#define LONGLORA_WORKER_TRAINER_PASSKEY_H_

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/trainer_protocol/train_spec.h"
#include "worker/trainer/model/llama_model.h"

namespace longlora::trainer {

struct PasskeyPrompt {
  int64_t length = 0;           // tokens in `ids`
  std::vector<int64_t> ids;     // ends with "The pass key is"
  std::vector<int64_t> answer;  // the tokens that go on with " " and the number
  int64_t number = 0;           // of five digits
  double depth = 0.0;           // share of the filler before the number, [0, 1]
};

// Token ids of a text without special tokens.
using EncodeFunction = std::function<absl::StatusOr<std::vector<int32_t>>(const std::string&)>;

// trials prompts of each length, in order; trial i of n hides its number at depth (i + 0.5) / n.
// INVALID_ARGUMENT names evaluation.passkey.lengths when the texts around the filler alone are
// longer.
absl::StatusOr<std::vector<PasskeyPrompt>> MakePasskeyPrompts(const common::PasskeySpec& spec,
                                                              int64_t seed,
                                                              const EncodeFunction& encode);

// Whether greedy decoding from the prompt, with dense attention, gives the answer's tokens: as many
// are decoded as the answer has. What would follow them is not looked at, so the model need not end
// after the number; an end-of-text token within the answer is a wrong one.
bool AnswersRight(const LlamaModel& model, const PasskeyPrompt& prompt);

}  // namespace longlora::trainer

#endif  // LONGLORA_WORKER_TRAINER_PASSKEY_H_
