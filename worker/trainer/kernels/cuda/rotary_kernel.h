// Starts the CUDA kernel of longlora::rotate. Compiled by nvcc without LibTorch's headers; called
// by rotary_cuda.cc.
#ifndef LONGLORA_WORKER_TRAINER_KERNELS_CUDA_ROTARY_KERNEL_H_
#define LONGLORA_WORKER_TRAINER_KERNELS_CUDA_ROTARY_KERNEL_H_

#include <cuda_runtime_api.h>

#include <cstdint>

#include "worker/trainer/kernels/rotary_math.h"

namespace longlora::trainer {

enum class RotaryType { kFp32, kBf16, kFp16, kFp64 };

// Device pointers; `x` and `out` of type `type`, `cos` and `sin` fp32 (fp64 for kFp64). Returns
// what the launch returned.
cudaError_t LaunchRotary(RotaryType type, const void* x, const void* cos, const void* sin,
                         void* out, bool back, int64_t tokens, const RotaryShape& shape,
                         cudaStream_t stream);

}  // namespace longlora::trainer

#endif  // LONGLORA_WORKER_TRAINER_KERNELS_CUDA_ROTARY_KERNEL_H_
