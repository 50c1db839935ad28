// The global norm of the gradients and its limit, as torch.nn.utils.clip_grad_norm_. Called by the
// training step after the gradients were summed over the ranks, so that every rank computes the
// same.
#ifndef LONGLORA_WORKER_TRAINER_OPTIMIZER_GRAD_CLIP_H_
#define LONGLORA_WORKER_TRAINER_OPTIMIZER_GRAD_CLIP_H_

#include <vector>

#include "worker/trainer/torch.h"

namespace longlora::trainer {

// L2 norm over all elements of all tensors. Not finite when any element is not.
double GlobalNorm(const std::vector<torch::Tensor>& gradients);

// Scales the gradients in place by min(1, max_norm / (norm + 1e-6)); 0 for `max_norm`: leaves them.
void ClipToNorm(const std::vector<torch::Tensor>& gradients, double norm, double max_norm);

}  // namespace longlora::trainer

#endif  // LONGLORA_WORKER_TRAINER_OPTIMIZER_GRAD_CLIP_H_
