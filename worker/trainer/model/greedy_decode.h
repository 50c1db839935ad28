// Text as the model would go on with it: the most probable token, again and again. Called by the
// passkey probe. No state.
#ifndef LONGLORA_WORKER_TRAINER_MODEL_GREEDY_DECODE_H_
#define LONGLORA_WORKER_TRAINER_MODEL_GREEDY_DECODE_H_

#include <cstdint>
#include <vector>

#include "worker/trainer/model/llama_model.h"

namespace longlora::trainer {

// Exactly `num_tokens` tokens after `prompt` (not empty), with dense attention and adapters as they
// are. The end-of-text token is one like the others: nothing ends early. Needs the memory of one
// forward pass without gradients, and a KvCache of all tokens but the last.
std::vector<int64_t> GreedyDecode(const LlamaModel& model, const std::vector<int64_t>& prompt,
                                  int64_t num_tokens);

}  // namespace longlora::trainer

#endif  // LONGLORA_WORKER_TRAINER_MODEL_GREEDY_DECODE_H_
