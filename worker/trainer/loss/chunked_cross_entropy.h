// Next-token cross-entropy straight from hidden states: the output head's product is made for a
// chunk of tokens at a time, so the full [tokens, vocabulary] logits never exist, in forward or
// backward. Tokens without a target cost nothing. Thread-safe: no state.
#ifndef LONGLORA_WORKER_TRAINER_LOSS_CHUNKED_CROSS_ENTROPY_H_
#define LONGLORA_WORKER_TRAINER_LOSS_CHUNKED_CROSS_ENTROPY_H_

#include <cstdint>

#include "worker/trainer/torch.h"

namespace longlora::trainer {

// A label that is no target.
inline constexpr int64_t kIgnoreLabel = -100;

// Tokens a chunk holds unless the caller says otherwise.
inline constexpr int64_t kDefaultLossChunk = 1024;

struct LossSum {
  torch::Tensor
      sum;  // fp32 scalar (fp64 for fp64 hidden states); divide by all targets of the step
  int64_t targets = 0;  // labels that count
};

// Number of targets in `labels` [B, T]: labels other than kIgnoreLabel, without each row's first,
// which nothing predicts.
int64_t CountTargets(const torch::Tensor& labels);

// Sum of -log p(labels[b, t + 1] | hidden[b, t]) over the targets. hidden: [B, T, E] in the compute
// dtype; lm_head: [V, E], frozen in the compute dtype, or a trained fp32 master, then it gets a
// gradient too; labels: [B, T] int64, aligned with the inputs as in transformers (the shift happens
// here).
LossSum ChunkedCrossEntropy(const torch::Tensor& hidden, const torch::Tensor& lm_head,
                            const torch::Tensor& labels, int64_t chunk = kDefaultLossChunk);

// Losses of single targets.
struct TokenLosses {
  torch::Tensor
      targets;           // [N] int64: index of the predicted token in the flattened [B * T]; rising
  torch::Tensor losses;  // [N] fp32 (fp64 for fp64 hidden states)
};

// -log p of every target, without gradient; arguments and memory as ChunkedCrossEntropy.
TokenLosses ChunkedTokenLosses(const torch::Tensor& hidden, const torch::Tensor& lm_head,
                               const torch::Tensor& labels, int64_t chunk = kDefaultLossChunk);

}  // namespace longlora::trainer

#endif  // LONGLORA_WORKER_TRAINER_LOSS_CHUNKED_CROSS_ENTROPY_H_
