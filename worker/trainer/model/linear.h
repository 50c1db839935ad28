// A frozen linear map of the base model, with an optional trained addition (LoRA plugs in here, so
// that model/ need not know lora/).
#ifndef LONGLORA_WORKER_TRAINER_MODEL_LINEAR_H_
#define LONGLORA_WORKER_TRAINER_MODEL_LINEAR_H_

#include <memory>
#include <string>
#include <vector>

#include "worker/trainer/torch.h"

namespace longlora::trainer {

// Adds a trained term to a linear map. Implementations hold fp32 master weights and compute in the
// dtype of `x`.
class LinearAdapter {
 public:
  virtual ~LinearAdapter() = default;

  // `y` [..., out] = x W^T + b is the frozen map's result; returns y + the term. May write into
  // `y`.
  virtual torch::Tensor AddTo(const torch::Tensor& y, const torch::Tensor& x) const = 0;

  // The trained tensors, always in the same order.
  virtual std::vector<torch::Tensor> parameters() const = 0;
};

struct Linear {
  std::string name;      // module name in the Hugging Face file: "model.layers.0.self_attn.q_proj"
  torch::Tensor weight;  // [out, in], frozen, compute dtype
  torch::Tensor bias;    // [out], the same; undefined: none
  std::shared_ptr<LinearAdapter> adapter;  // null: none

  // x [..., in] -> [..., out].
  torch::Tensor Forward(const torch::Tensor& x) const;
};

}  // namespace longlora::trainer

#endif  // LONGLORA_WORKER_TRAINER_MODEL_LINEAR_H_
