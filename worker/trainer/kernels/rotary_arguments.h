// Checks the tensors of longlora::rotate and describes them to the kernels; shared by CPU and CUDA.
#ifndef LONGLORA_WORKER_TRAINER_KERNELS_ROTARY_ARGUMENTS_H_
#define LONGLORA_WORKER_TRAINER_KERNELS_ROTARY_ARGUMENTS_H_

#include <ATen/core/Tensor.h>
#include <c10/util/Exception.h>

#include "worker/trainer/kernels/rotary_math.h"

namespace longlora::trainer {

// Throws c10::Error when the tensors do not fit together.
inline RotaryShape DescribeRotary(const at::Tensor& x, const at::Tensor& cos,
                                  const at::Tensor& sin) {
  TORCH_CHECK(x.dim() == 4 && x.size(3) % 2 == 0 && x.stride(3) == 1,
              "x must be [B, T, H, D] with dense D");
  TORCH_CHECK(x.size(0) == 1 || x.stride(0) == x.size(1) * x.stride(1),
              "rows of x must follow each other");
  const int64_t half = x.size(3) / 2;
  for (const at::Tensor& table : {cos, sin}) {
    TORCH_CHECK(table.is_contiguous() && table.numel() == x.size(0) * x.size(1) * half,
                "cos and sin must be contiguous [B, T, D / 2]");
    TORCH_CHECK(table.scalar_type() == (x.scalar_type() == at::kDouble ? at::kDouble : at::kFloat),
                "cos and sin must be fp32, or fp64 for fp64 x");
    TORCH_CHECK(table.device() == x.device(), "x, cos and sin must be on one device");
  }
  RotaryShape shape;
  shape.heads = x.size(2);
  shape.half = half;
  shape.x_token_stride = x.stride(1);
  shape.x_head_stride = x.stride(2);
  return shape;
}

}  // namespace longlora::trainer

#endif  // LONGLORA_WORKER_TRAINER_KERNELS_ROTARY_ARGUMENTS_H_
