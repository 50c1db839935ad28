// The gate of Llama's feed-forward block (Shazeer 2020).
#ifndef LONGLORA_WORKER_TRAINER_MODEL_SWIGLU_H_
#define LONGLORA_WORKER_TRAINER_MODEL_SWIGLU_H_

#include "worker/trainer/torch.h"

namespace longlora::trainer {

// silu(gate) * up, element by element. Differentiable in both.
torch::Tensor SwiGlu(const torch::Tensor& gate, const torch::Tensor& up);

}  // namespace longlora::trainer

#endif  // LONGLORA_WORKER_TRAINER_MODEL_SWIGLU_H_
