#include "worker/trainer/model/rope.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>
#include <vector>

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

// Yarn (Peng et al. 2023, section 3.2): angles that turn often within the original length keep
// their speed, those that turn rarely are interpolated, those between are mixed.
Tensor Yarn(const Tensor& wide, int64_t dim, const common::RotaryConfig& rope) {
  constexpr double kPi = 3.141592653589793;
  const auto original = static_cast<double>(rope.original_length);
  // The index at which an angle turns `rotations` times.
  const auto index = [&](double rotations) {
    return static_cast<double>(dim) * std::log(original / (rotations * 2.0 * kPi)) /
           (2.0 * std::log(rope.theta));
  };
  double low = index(rope.beta_fast), high = index(rope.beta_slow);
  if (rope.truncate) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, static_cast<double>(dim - 1));
  if (low == high) high += 0.001;
  const Tensor ramp =
      torch::clamp((torch::arange(dim / 2, torch::kFloat32) - low) / (high - low), 0.0, 1.0);
  const Tensor keep = 1.0 - ramp;
  return 1.0 / (rope.factor * wide) * (1.0 - keep) + 1.0 / wide * keep;
}

// Llama 3.1: the same idea by wavelength.
Tensor Llama3(const Tensor& plain, const common::RotaryConfig& rope) {
  constexpr double kPi = 3.141592653589793;
  const auto original = static_cast<double>(rope.original_length);
  const double low_wavelength = original / rope.low_freq_factor;
  const double high_wavelength = original / rope.high_freq_factor;
  const Tensor wavelength = 2.0 * kPi / plain;
  const Tensor slow = torch::where(wavelength > low_wavelength, plain / rope.factor, plain);
  const Tensor smooth = (original / wavelength - rope.low_freq_factor) /
                        (rope.high_freq_factor - rope.low_freq_factor);
  const Tensor mixed = (1.0 - smooth) * slow / rope.factor + smooth * slow;
  const Tensor between = (wavelength >= high_wavelength).logical_and(wavelength <= low_wavelength);
  return torch::where(between, mixed, slow);
}

}  // namespace

Tensor InverseFrequencies(int64_t head_dim, const common::RotaryConfig& rope) {
  const int64_t dim = common::RotaryDim(head_dim, rope);
  const Tensor wide =  // theta^(2i / dim)
      torch::pow(rope.theta, torch::arange(0, dim, 2, torch::kFloat32) / static_cast<double>(dim));
  switch (rope.kind) {
    case common::RotaryKind::kDefault:
    case common::RotaryKind::kDynamic:
      return 1.0 / wide;
    case common::RotaryKind::kLinear:
      return 1.0 / wide / rope.factor;
    case common::RotaryKind::kYarn:
      return Yarn(wide, dim, rope);
    case common::RotaryKind::kLlama3:
      return Llama3(1.0 / wide, rope);
    case common::RotaryKind::kLongRope:
      return 1.0 / (torch::tensor(rope.short_factor, torch::kFloat32) * wide);
  }
  return 1.0 / wide;
}

RotaryTables MakeRotaryTables(const Tensor& position_ids, const Tensor& inverse_frequencies,
                              double attention_factor) {
  const Tensor angles = position_ids.unsqueeze(-1).to(torch::kFloat32) * inverse_frequencies;
  if (attention_factor == 1.0) return {angles.cos(), angles.sin()};
  return {angles.cos() * attention_factor, angles.sin() * attention_factor};
}

Tensor ApplyRotary(const Tensor& x, const RotaryTables& tables) {
  const int64_t turned = 2 * tables.cos.size(-1);
  if (turned == x.size(-1)) return RotaryFunction::apply(x, tables.cos, tables.sin);
  const std::vector<Tensor> parts = x.split_with_sizes({turned, x.size(-1) - turned}, -1);
  return torch::cat(
      {RotaryFunction::apply(parts[0].contiguous(), tables.cos, tables.sin), parts[1]}, -1);
}

}  // namespace longlora::trainer
