// One thread a pair; the arithmetic is RotatePair's, tested on the CPU.
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "worker/trainer/kernels/cuda/rotary_kernel.h"

namespace longlora::trainer {
namespace {

constexpr int kThreads = 256;
// Blocks of one launch; a larger tensor makes each thread take several pairs.
constexpr int64_t kMaxBlocks = 1 << 20;

template <typename T, typename A>
__global__ void RotaryKernel(const T* x, const A* cos, const A* sin, T* out, A sign,
                             int64_t num_pairs, RotaryShape shape) {
  const int64_t step = static_cast<int64_t>(gridDim.x) * blockDim.x;
  for (int64_t pair = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; pair < num_pairs;
       pair += step) {
    RotatePair(x, cos, sin, out, sign, pair, shape);
  }
}

template <typename T, typename A>
cudaError_t Launch(const void* x, const void* cos, const void* sin, void* out, bool back,
                   int64_t tokens, const RotaryShape& shape, cudaStream_t stream) {
  const int64_t num_pairs = tokens * shape.heads * shape.half;
  if (num_pairs == 0) return cudaSuccess;
  const int64_t wanted = (num_pairs + kThreads - 1) / kThreads;
  const auto blocks = static_cast<unsigned>(wanted < kMaxBlocks ? wanted : kMaxBlocks);
  RotaryKernel<T, A><<<blocks, kThreads, 0, stream>>>(
      static_cast<const T*>(x), static_cast<const A*>(cos), static_cast<const A*>(sin),
      static_cast<T*>(out), back ? A(-1) : A(1), num_pairs, shape);
  return cudaGetLastError();
}

}  // namespace

cudaError_t LaunchRotary(RotaryType type, const void* x, const void* cos, const void* sin,
                         void* out, bool back, int64_t tokens, const RotaryShape& shape,
                         cudaStream_t stream) {
  switch (type) {
    case RotaryType::kFp32:
      return Launch<float, float>(x, cos, sin, out, back, tokens, shape, stream);
    case RotaryType::kBf16:
      return Launch<__nv_bfloat16, float>(x, cos, sin, out, back, tokens, shape, stream);
    case RotaryType::kFp16:
      return Launch<__half, float>(x, cos, sin, out, back, tokens, shape, stream);
    case RotaryType::kFp64:
      return Launch<double, double>(x, cos, sin, out, back, tokens, shape, stream);
  }
  return cudaErrorInvalidValue;
}

}  // namespace longlora::trainer
