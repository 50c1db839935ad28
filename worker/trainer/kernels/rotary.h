// Rotates query and key heads by position in one pass over memory, where tensor operations take
// five. The operator longlora::rotate has a CPU implementation here; liblonglora_cuda.so adds
// CUDA's when it is loaded. Called by model/rope. Thread-safe: no state.
#ifndef LONGLORA_WORKER_TRAINER_KERNELS_ROTARY_H_
#define LONGLORA_WORKER_TRAINER_KERNELS_ROTARY_H_

#include "worker/trainer/torch.h"

namespace longlora::trainer {

// x: [B, T, H, D], D even, last stride 1, rows and tokens of a row equally spaced (as views of
// projections are); cos, sin: [B, T, D / 2], contiguous, fp32 (fp64 for fp64 x). Returns a
// contiguous [B, T, H, D] of x's type: pairs (x[i], x[i + D/2]) turned by the angles, or turned
// back. No gradient: the caller's backward is the rotation back. Violated shapes throw c10::Error.
torch::Tensor RotateHeads(const torch::Tensor& x, const torch::Tensor& cos,
                          const torch::Tensor& sin, bool back);

}  // namespace longlora::trainer

#endif  // LONGLORA_WORKER_TRAINER_KERNELS_ROTARY_H_
