#include "worker/trainer/optimizer/adamw.h"

#include <algorithm>
#include <utility>

namespace longlora::trainer {

AdamW::AdamW(std::vector<torch::Tensor> parameters, const common::OptimizerSpec& spec,
             const std::vector<double>& rate_factors)
    : parameters_(std::move(parameters)), spec_(spec) {
  TORCH_CHECK(rate_factors.empty() || rate_factors.size() == parameters_.size(),
              "one rate factor a parameter");
  for (size_t i = 0; i < parameters_.size(); ++i) {
    exp_avg_.push_back(torch::zeros_like(parameters_[i]).detach());
    exp_avg_sq_.push_back(torch::zeros_like(parameters_[i]).detach());
    const double factor = rate_factors.empty() ? 1.0 : rate_factors[i];
    const double decay = parameters_[i].dim() > 1 ? spec_.weight_decay : 0.0;
    auto group = std::find_if(groups_.begin(), groups_.end(), [&](const Group& other) {
      return other.rate_factor == factor && other.weight_decay == decay;
    });
    if (group == groups_.end()) group = groups_.insert(group, {factor, decay, {}});
    group->members.push_back(i);
  }
}

void AdamW::Step(const std::vector<torch::Tensor>& gradients, double learning_rate) {
  TORCH_CHECK(gradients.size() == parameters_.size(), "one gradient a parameter");
  ++step_;
  for (const Group& group : groups_) StepGroup(group, gradients, learning_rate);
}

void AdamW::StepGroup(const Group& group, const std::vector<torch::Tensor>& gradients,
                      double learning_rate) {
  torch::NoGradGuard no_grad;
  std::vector<torch::Tensor> values, grads, averages, squares, steps;
  for (const size_t i : group.members) {
    values.push_back(parameters_[i].detach());
    grads.push_back(gradients[i]);
    averages.push_back(exp_avg_[i]);
    squares.push_back(exp_avg_sq_[i]);
    steps.push_back(torch::full({}, static_cast<double>(step_),
                                torch::dtype(torch::kFloat32).device(values.back().device())));
  }
  torch::_fused_adamw_(values, grads, averages, squares, /*max_exp_avg_sqs=*/{}, steps,
                       learning_rate * group.rate_factor, spec_.beta1, spec_.beta2,
                       group.weight_decay, spec_.epsilon,
                       /*amsgrad=*/false, /*maximize=*/false);
}

}  // namespace longlora::trainer
