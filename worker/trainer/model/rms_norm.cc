#include "worker/trainer/model/rms_norm.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <numeric>
#include <vector>

#include "worker/trainer/model/layer_rows.h"

namespace longlora::trainer {
namespace {

using torch::Tensor;

// Rows whose weight gradients are summed together. A constant, so that the sum is the same for any
// number of threads.
constexpr int64_t kBlockRows = 128;

bool HasCpuKernel(const Tensor& x, const Tensor& weight) {
  return x.is_cpu() && x.is_contiguous() &&
         (x.scalar_type() == torch::kFloat32 || x.scalar_type() == torch::kBFloat16) &&
         weight.scalar_type() != torch::kFloat64;
}

RowType TypeOf(const Tensor& x) {
  return x.scalar_type() == torch::kBFloat16 ? RowType::kBf16 : RowType::kFloat;
}

struct Forward {
  Tensor y;
  Tensor scale;  // [..., 1]: 1 / root mean square
};

Forward CpuForward(const Tensor& x, const Tensor& weight, double eps) {
  const Tensor w = weight.to(torch::kFloat32).contiguous();
  std::vector<int64_t> scale_sizes = x.sizes().vec();
  scale_sizes.back() = 1;
  Forward out{torch::empty_like(x), torch::empty(scale_sizes, w.options())};
  const int64_t width = x.size(-1), rows = x.numel() / width;
  at::parallel_for(0, rows, kBlockRows, [&](int64_t begin, int64_t end) {
    RmsNormForward(TypeOf(x), x.const_data_ptr(), w.const_data_ptr<float>(),
                   static_cast<float>(eps), width, begin, end, out.y.data_ptr(),
                   out.scale.data_ptr<float>());
  });
  return out;
}

struct Backward {
  Tensor x;
  Tensor weight;
};

Backward CpuBackward(const Tensor& grad_in, const Tensor& x, const Tensor& weight,
                     const Tensor& scale) {
  const Tensor grad = grad_in.contiguous(), w = weight.to(torch::kFloat32).contiguous();
  const int64_t width = x.size(-1), rows = x.numel() / width;
  const int64_t blocks = (rows + kBlockRows - 1) / kBlockRows;
  const Tensor grad_x = x.requires_grad() ? torch::empty_like(x) : Tensor();
  const Tensor partial =
      weight.requires_grad() ? torch::zeros({blocks, width}, w.options()) : Tensor();
  at::parallel_for(0, blocks, 1, [&](int64_t first, int64_t last) {
    for (int64_t block = first; block < last; ++block) {
      RmsNormBackward(TypeOf(x), grad.const_data_ptr(), x.const_data_ptr(),
                      w.const_data_ptr<float>(), scale.const_data_ptr<float>(), width,
                      block * kBlockRows, std::min(rows, (block + 1) * kBlockRows),
                      grad_x.defined() ? grad_x.data_ptr() : nullptr,
                      partial.defined() ? partial.data_ptr<float>() + block * width : nullptr);
    }
  });
  return {grad_x, partial.defined() ? partial.sum(0).to(weight.scalar_type()) : Tensor()};
}

Tensor Widen(const Tensor& t) {
  return t.scalar_type() == torch::kFloat64 ? t : t.to(torch::kFloat32);
}

// The same by ATen's operators, for CUDA and fp64.
Forward PlainForward(const Tensor& x_in, const Tensor& weight, double eps) {
  const Tensor x = Widen(x_in);
  const Tensor scale = x.square().mean(-1, /*keepdim=*/true).add_(eps).rsqrt_();
  return {(x * scale).mul_(Widen(weight)).to(x_in.scalar_type()), scale};
}

Backward PlainBackward(const Tensor& grad_in, const Tensor& x, const Tensor& weight,
                       const Tensor& scale) {
  const Tensor grad = Widen(grad_in), normalized = Widen(x) * scale;
  Backward out;
  if (weight.requires_grad()) {
    std::vector<int64_t> rows(grad.dim() - 1);
    std::iota(rows.begin(), rows.end(), 0);
    out.weight = (grad * normalized).sum(rows).to(weight.scalar_type());
  }
  if (x.requires_grad()) {
    const Tensor weighted = grad * Widen(weight);
    const Tensor along = (weighted * normalized).mean(-1, /*keepdim=*/true);
    out.x = (weighted - normalized * along).mul_(scale).to(x.scalar_type());
  }
  return out;
}

class RmsNormFunction : public torch::autograd::Function<RmsNormFunction> {
 public:
  static Tensor forward(torch::autograd::AutogradContext* ctx, const Tensor& x,
                        const Tensor& weight, double eps) {
    const Forward out =
        HasCpuKernel(x, weight) ? CpuForward(x, weight, eps) : PlainForward(x, weight, eps);
    ctx->save_for_backward({x, weight, out.scale});
    return out.y;
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* ctx,
                                                 torch::autograd::variable_list grads) {
    const auto saved = ctx->get_saved_variables();
    const Tensor &x = saved[0], &weight = saved[1], &scale = saved[2];
    const Backward out = HasCpuKernel(x, weight) ? CpuBackward(grads[0], x, weight, scale)
                                                 : PlainBackward(grads[0], x, weight, scale);
    return {out.x, out.weight, Tensor()};
  }
};

}  // namespace

Tensor RmsNorm(const Tensor& x, const Tensor& weight, double eps) {
  return RmsNormFunction::apply(x, weight, eps);
}

}  // namespace longlora::trainer
