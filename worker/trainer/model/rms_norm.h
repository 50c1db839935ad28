// Root-mean-square normalization (Zhang & Sennrich 2019) as Llama uses it.
#ifndef LONGLORA_WORKER_TRAINER_MODEL_RMS_NORM_H_
#define LONGLORA_WORKER_TRAINER_MODEL_RMS_NORM_H_

#include "worker/trainer/torch.h"

namespace longlora::trainer {

// x / sqrt(mean(x^2) + eps) * weight over the last dimension, computed in fp32 (fp64 for fp64 x),
// in the dtype of x. `weight` may be an fp32 master or have x's dtype. Differentiable in x, and in
// weight where it requires a gradient.
torch::Tensor RmsNorm(const torch::Tensor& x, const torch::Tensor& weight, double eps);

}  // namespace longlora::trainer

#endif  // LONGLORA_WORKER_TRAINER_MODEL_RMS_NORM_H_
