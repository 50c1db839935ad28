// Which parameters learn at which rate. Pure; called when the optimizer is made.
#ifndef LONGLORA_WORKER_TRAINER_OPTIMIZER_PARAMETER_GROUPS_H_
#define LONGLORA_WORKER_TRAINER_OPTIMIZER_PARAMETER_GROUPS_H_

#include "absl/strings/string_view.h"
#include "common/trainer_protocol/train_spec.h"

namespace longlora::trainer {

// What the learning rate of the trained parameter `name` is multiplied by: lora_plus_ratio for
// LoRA's B (LoRA+, Hayou et al. 2024), 1 for its A, and trainable_learning_rate / learning_rate for
// the embedding and the norms. peft's create_loraplus_optimizer also gives trained norms the ratio;
// here they have a rate of their own.
double RateFactor(absl::string_view name, const common::OptimizerSpec& spec);

}  // namespace longlora::trainer

#endif  // LONGLORA_WORKER_TRAINER_OPTIMIZER_PARAMETER_GROUPS_H_
