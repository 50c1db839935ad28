// CUDA's implementation of longlora::rotate (rotary.h), registered when the plug-in is loaded.
#include <ATen/ATen.h>
#include <ATen/cuda/CUDAContext.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <torch/library.h>

#include "worker/trainer/kernels/cuda/rotary_kernel.h"
#include "worker/trainer/kernels/rotary_arguments.h"

namespace longlora::trainer {
namespace {

RotaryType TypeOf(const at::Tensor& x) {
  switch (x.scalar_type()) {
    case at::kFloat:
      return RotaryType::kFp32;
    case at::kBFloat16:
      return RotaryType::kBf16;
    case at::kHalf:
      return RotaryType::kFp16;
    case at::kDouble:
      return RotaryType::kFp64;
    default:
      TORCH_CHECK(false, "longlora::rotate has no kernel for ", x.scalar_type());
  }
}

at::Tensor RotateCuda(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin,
                      bool back) {
  const RotaryShape shape = DescribeRotary(x, cos, sin);
  const c10::cuda::CUDAGuard device(x.device());
  at::Tensor out = at::empty(x.sizes(), x.options());
  C10_CUDA_CHECK(LaunchRotary(TypeOf(x), x.const_data_ptr(), cos.const_data_ptr(),
                              sin.const_data_ptr(), out.mutable_data_ptr(), back,
                              x.size(0) * x.size(1), shape, at::cuda::getCurrentCUDAStream()));
  return out;
}

}  // namespace

TORCH_LIBRARY_IMPL(longlora, CUDA, library) { library.impl("rotate", &RotateCuda); }

}  // namespace longlora::trainer
