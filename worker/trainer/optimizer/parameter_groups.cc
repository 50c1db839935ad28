#include "worker/trainer/optimizer/parameter_groups.h"

#include "absl/strings/match.h"

namespace longlora::trainer {

double RateFactor(absl::string_view name, const common::OptimizerSpec& spec) {
  if (absl::EndsWith(name, ".lora_B.weight")) return spec.lora_plus_ratio;
  if (absl::EndsWith(name, ".lora_A.weight") || !spec.trainable_learning_rate.has_value()) {
    return 1.0;
  }
  return *spec.trainable_learning_rate / spec.learning_rate;
}

}  // namespace longlora::trainer
