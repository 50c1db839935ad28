#include "worker/trainer/kernels/rotary.h"

#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>
#include <torch/library.h>

#include "worker/trainer/kernels/rotary_arguments.h"
#include "worker/trainer/kernels/rotary_math.h"

namespace longlora::trainer {
namespace {

template <typename T, typename A>
void RotateOnCpu(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin, A sign,
                 const RotaryShape& shape, at::Tensor& out) {
  // Pairs a thread takes at least: a smaller share costs more to hand out than to compute.
  constexpr int64_t kGrain = 16'384;
  const T* const source = x.const_data_ptr<T>();
  const A* const c = cos.const_data_ptr<A>();
  const A* const s = sin.const_data_ptr<A>();
  T* const target = out.mutable_data_ptr<T>();
  const int64_t tokens = x.size(0) * x.size(1);
  const int64_t token_pairs = shape.heads * shape.half;
  at::parallel_for(0, tokens, std::max<int64_t>(1, kGrain / token_pairs),
                   [&](int64_t begin, int64_t end) {
                     for (int64_t token = begin; token < end; ++token) {
                       for (int64_t head = 0; head < shape.heads; ++head) {
                         const T* const from =
                             source + token * shape.x_token_stride + head * shape.x_head_stride;
                         T* const to = target + (token * shape.heads + head) * 2 * shape.half;
                         // A loop over neighbours only, so that the compiler makes vectors of it.
                         for (int64_t i = 0; i < shape.half; ++i) {
                           RotateOne(from, c + token * shape.half, s + token * shape.half, to, sign,
                                     i, shape.half);
                         }
                       }
                     }
                   });
}

at::Tensor RotateCpu(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin, bool back) {
  const RotaryShape shape = DescribeRotary(x, cos, sin);
  at::Tensor out = at::empty(x.sizes(), x.options());
  if (x.scalar_type() == at::kDouble) {
    RotateOnCpu<double, double>(x, cos, sin, back ? -1.0 : 1.0, shape, out);
    return out;
  }
  AT_DISPATCH_FLOATING_TYPES_AND2(
      at::kBFloat16, at::kHalf, x.scalar_type(), "longlora::rotate", [&] {
        if constexpr (!std::is_same_v<scalar_t, double>) {
          RotateOnCpu<scalar_t, float>(x, cos, sin, back ? -1.0F : 1.0F, shape, out);
        }
      });
  return out;
}

}  // namespace

TORCH_LIBRARY(longlora, library) {
  library.def("rotate(Tensor x, Tensor cos, Tensor sin, bool back) -> Tensor");
}
TORCH_LIBRARY_IMPL(longlora, CPU, library) { library.impl("rotate", &RotateCpu); }

torch::Tensor RotateHeads(const torch::Tensor& x, const torch::Tensor& cos,
                          const torch::Tensor& sin, bool back) {
  static const auto rotate =
      c10::Dispatcher::singleton()
          .findSchemaOrThrow("longlora::rotate", "")
          .typed<at::Tensor(const at::Tensor&, const at::Tensor&, const at::Tensor&, bool)>();
  // The caller differentiates; without this the dispatcher would warn about a missing gradient.
  at::AutoDispatchBelowAutograd below_autograd;
  return rotate.call(x, cos, sin, back);
}

}  // namespace longlora::trainer
