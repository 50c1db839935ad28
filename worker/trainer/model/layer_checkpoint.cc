#include "worker/trainer/model/layer_checkpoint.h"

#include <torch/custom_class.h>

#include <utility>

namespace longlora::trainer {
namespace {

using torch::Tensor;
using torch::autograd::variable_list;

// AutogradContext keeps IValues only; this makes the closure one.
struct Closure : torch::CustomClassHolder {
  std::function<Tensor(const Tensor&)> run;
};

class CheckpointFunction : public torch::autograd::Function<CheckpointFunction> {
 public:
  static Tensor forward(torch::autograd::AutogradContext* ctx, const Tensor& input,
                        at::TensorList parameters, c10::intrusive_ptr<Closure> closure) {
    variable_list saved = {input};
    saved.insert(saved.end(), parameters.begin(), parameters.end());
    ctx->save_for_backward(std::move(saved));
    Tensor output = closure->run(input);
    ctx->saved_data["closure"] = c10::IValue::make_capsule(std::move(closure));
    return output;
  }

  static variable_list backward(torch::autograd::AutogradContext* ctx, variable_list grads) {
    const variable_list saved = ctx->get_saved_variables();
    const bool input_needs_grad = saved[0].requires_grad();
    const auto closure =
        c10::static_intrusive_pointer_cast<Closure>(ctx->saved_data["closure"].toCapsule());
    const torch::AutoGradMode grad_on(true);
    const Tensor input = saved[0].detach().requires_grad_(input_needs_grad);
    const Tensor output = closure->run(input);
    variable_list wanted(saved.begin() + 1, saved.end());
    if (input_needs_grad) wanted.push_back(input);
    variable_list found =
        torch::autograd::grad({output}, wanted, {grads[0]}, /*retain_graph=*/false,
                              /*create_graph=*/false, /*allow_unused=*/true);
    variable_list result = {input_needs_grad ? found.back() : Tensor()};
    result.insert(result.end(), found.begin(), found.begin() + saved.size() - 1);
    result.emplace_back();
    return result;
  }
};

}  // namespace

Tensor Checkpointed(std::function<Tensor(const Tensor&)> run, const Tensor& input,
                    const std::vector<Tensor>& parameters) {
  auto closure = c10::make_intrusive<Closure>();
  closure->run = std::move(run);
  return CheckpointFunction::apply(input, at::TensorList(parameters), std::move(closure));
}

}  // namespace longlora::trainer
