// Rotary position embedding (Su et al. 2021) in the layout of Hugging Face models: the two halves
// of a head are rotated against each other. Angles and products are fp32 (or fp64), rounded once.
#ifndef LONGLORA_WORKER_TRAINER_MODEL_ROPE_H_
#define LONGLORA_WORKER_TRAINER_MODEL_ROPE_H_

#include "common/base_model/rotary_config.h"
#include "worker/trainer/torch.h"

namespace longlora::trainer {

// [RotaryDim / 2] fp32: theta^(-2i / RotaryDim), scaled as the kind says; computed as transformers
// does. Kinds that depend on the length of the text must be fixed at one before (JobRope): dynamic
// is plain here, longrope uses short_factor.
torch::Tensor InverseFrequencies(int64_t head_dim, const common::RotaryConfig& rope);

// What one forward pass rotates by; the same for every layer.
struct RotaryTables {
  torch::Tensor cos;  // [B, T, RotaryDim / 2] fp32
  torch::Tensor sin;
};

// `attention_factor`: see AttentionFactor().
RotaryTables MakeRotaryTables(const torch::Tensor& position_ids,
                              const torch::Tensor& inverse_frequencies,
                              double attention_factor = 1.0);

// x: [B, T, H, D] -> the same shape and dtype. Where the tables are narrower than a head, its end
// passes unchanged. Differentiable in x.
torch::Tensor ApplyRotary(const torch::Tensor& x, const RotaryTables& tables);

}  // namespace longlora::trainer

#endif  // LONGLORA_WORKER_TRAINER_MODEL_ROPE_H_
