// AdamW (Loshchilov & Hutter, 2019, algorithm 2) on fp32 master weights: torch.optim.AdamW's
// arithmetic through LibTorch's fused kernel, one pass over memory, on CPU and CUDA. Owned by the
// trainer; its state tensors are read and written by checkpointing. Not thread-safe.
#ifndef LONGLORA_WORKER_TRAINER_OPTIMIZER_ADAMW_H_
#define LONGLORA_WORKER_TRAINER_OPTIMIZER_ADAMW_H_

#include <cstdint>
#include <vector>

#include "common/trainer_protocol/train_spec.h"
#include "worker/trainer/torch.h"

namespace longlora::trainer {

class AdamW {
 public:
  // `parameters`: fp32 leaves; kept, updated in place. Weight decay spares vectors (the norms), as
  // transformers' Trainer does. `rate_factors`, one a parameter, multiply the learning rate
  // (parameter_groups.h); empty: 1 for all.
  AdamW(std::vector<torch::Tensor> parameters, const common::OptimizerSpec& spec,
        const std::vector<double>& rate_factors = {});

  // One update with `gradients`, one a parameter, in the same order.
  void Step(const std::vector<torch::Tensor>& gradients, double learning_rate);

  // Updates done.
  int64_t step() const { return step_; }
  void set_step(int64_t step) { step_ = step; }

  // Running means of the gradients and of their squares, like `parameters`; the tensors may be
  // copied into, not replaced.
  const std::vector<torch::Tensor>& exp_avg() const { return exp_avg_; }
  const std::vector<torch::Tensor>& exp_avg_sq() const { return exp_avg_sq_; }

 private:
  // Parameters that share learning rate and weight decay.
  struct Group {
    double rate_factor;
    double weight_decay;
    std::vector<size_t> members;
  };

  void StepGroup(const Group& group, const std::vector<torch::Tensor>& gradients,
                 double learning_rate);

  std::vector<torch::Tensor> parameters_;
  std::vector<torch::Tensor> exp_avg_;
  std::vector<torch::Tensor> exp_avg_sq_;
  std::vector<Group> groups_;
  const common::OptimizerSpec spec_;
  int64_t step_ = 0;
};

}  // namespace longlora::trainer

#endif  // LONGLORA_WORKER_TRAINER_OPTIMIZER_ADAMW_H_
