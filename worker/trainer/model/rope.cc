#include "worker/trainer/model/rope.h"

#include <ATen/Parallel.h>

#include "worker/trainer/kernels/rotary.h"
#include "worker/trainer/model/layer_rows.h"

namespace longlora::trainer {
namespace {

using torch::Tensor;

// By the operator of kernels/, for CUDA and fp64. cos and sin: [B, T, D / 2] fp32.
Tensor RotateByOperator(const Tensor& x, const Tensor& cos, const Tensor& sin, float direction) {
  const auto type = x.scalar_type() == torch::kFloat64 ? torch::kFloat64 : torch::kFloat32;
  return RotateHeads(x.contiguous(), cos.to(type), sin.to(type), /*back=*/direction < 0);
}

Tensor Turn(const Tensor& x_in, const Tensor& cos, const Tensor& sin, float direction) {
  const bool bf16 = x_in.scalar_type() == torch::kBFloat16;
  if (!x_in.is_cpu() || !(bf16 || x_in.scalar_type() == torch::kFloat32)) {
    return RotateByOperator(x_in, cos, sin, direction);
  }
  constexpr int64_t kTokensPerTask = 64;
  const Tensor x = x_in.contiguous();
  Tensor out = torch::empty_like(x);
  const int64_t tokens = x.size(0) * x.size(1), heads = x.size(2), half = x.size(3) / 2;
  at::parallel_for(0, tokens, kTokensPerTask, [&](int64_t begin, int64_t end) {
    Rotate(bf16 ? RowType::kBf16 : RowType::kFloat, x.const_data_ptr(), cos.const_data_ptr<float>(),
           sin.const_data_ptr<float>(), direction, heads, half, begin, end, out.data_ptr());
  });
  return out;
}

class RotaryFunction : public torch::autograd::Function<RotaryFunction> {
 public:
  static Tensor forward(torch::autograd::AutogradContext* ctx, const Tensor& x, const Tensor& cos,
                        const Tensor& sin) {
    ctx->save_for_backward({cos, sin});
    return Turn(x, cos, sin, 1.0f);
  }

  // A rotation's gradient is turned back by the same angle.
  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* ctx,
                                                 torch::autograd::variable_list grads) {
    const auto saved = ctx->get_saved_variables();
    return {Turn(grads[0], saved[0], saved[1], -1.0f), Tensor(), Tensor()};
  }
};

}  // namespace

Tensor InverseFrequencies(int64_t head_dim, const RotaryConfig& rope) {
  const Tensor exponents =
      torch::arange(0, head_dim, 2, torch::kFloat32) / static_cast<double>(head_dim);
  return 1.0 / torch::pow(rope.theta, exponents) / rope.factor;
}

RotaryTables MakeRotaryTables(const Tensor& position_ids, const Tensor& inverse_frequencies) {
  const Tensor angles = position_ids.unsqueeze(-1).to(torch::kFloat32) * inverse_frequencies;
  return {angles.cos(), angles.sin()};
}

Tensor ApplyRotary(const Tensor& x, const RotaryTables& tables) {
  return RotaryFunction::apply(x, tables.cos, tables.sin);
}

}  // namespace longlora::trainer
