#include "worker/trainer/optimizer/adamw.h"

#include <utility>

namespace longlora::trainer {

AdamW::AdamW(std::vector<torch::Tensor> parameters, const common::OptimizerSpec& spec)
    : parameters_(std::move(parameters)), spec_(spec) {
  for (size_t i = 0; i < parameters_.size(); ++i) {
    exp_avg_.push_back(torch::zeros_like(parameters_[i]).detach());
    exp_avg_sq_.push_back(torch::zeros_like(parameters_[i]).detach());
    (parameters_[i].dim() > 1 ? decayed_ : spared_).push_back(i);
  }
}

void AdamW::Step(const std::vector<torch::Tensor>& gradients, double learning_rate) {
  TORCH_CHECK(gradients.size() == parameters_.size(), "one gradient a parameter");
  ++step_;
  StepSome(decayed_, gradients, learning_rate, spec_.weight_decay);
  StepSome(spared_, gradients, learning_rate, 0.0);
}

void AdamW::StepSome(const std::vector<size_t>& which, const std::vector<torch::Tensor>& gradients,
                     double learning_rate, double weight_decay) {
  if (which.empty()) return;
  torch::NoGradGuard no_grad;
  std::vector<torch::Tensor> values, grads, averages, squares, steps;
  for (const size_t i : which) {
    values.push_back(parameters_[i].detach());
    grads.push_back(gradients[i]);
    averages.push_back(exp_avg_[i]);
    squares.push_back(exp_avg_sq_[i]);
    steps.push_back(torch::full({}, static_cast<double>(step_),
                                torch::dtype(torch::kFloat32).device(values.back().device())));
  }
  torch::_fused_adamw_(values, grads, averages, squares, /*max_exp_avg_sqs=*/{}, steps,
                       learning_rate, spec_.beta1, spec_.beta2, weight_decay, spec_.epsilon,
                       /*amsgrad=*/false, /*maximize=*/false);
}

}  // namespace longlora::trainer
