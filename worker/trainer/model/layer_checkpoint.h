// Activation checkpointing (Chen et al. 2016): a layer keeps only its input, and runs again in
// backward.
#ifndef LONGLORA_WORKER_TRAINER_MODEL_LAYER_CHECKPOINT_H_
#define LONGLORA_WORKER_TRAINER_MODEL_LAYER_CHECKPOINT_H_

#include <functional>
#include <vector>

#include "worker/trainer/torch.h"

namespace longlora::trainer {

// run(input), without storing what run computes on the way. `run` must be a pure function of its
// input and of `parameters`, the trained leaves it uses: it is called once more in backward, with
// gradients on, and has to keep alive what it needs. No randomness is saved: dropout draws
// from where it is (lora/dropout.h). Gradients equal those of run(input) by itself.
torch::Tensor Checkpointed(std::function<torch::Tensor(const torch::Tensor&)> run,
                           const torch::Tensor& input,
                           const std::vector<torch::Tensor>& parameters);

}  // namespace longlora::trainer

#endif  // LONGLORA_WORKER_TRAINER_MODEL_LAYER_CHECKPOINT_H_
