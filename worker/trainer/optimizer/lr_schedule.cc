#include "worker/trainer/optimizer/lr_schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace longlora::trainer {

double LearningRate(const common::OptimizerSpec& spec, int64_t step, int64_t total_steps) {
  const auto done = static_cast<double>(step - 1);
  const auto warmup = static_cast<double>(spec.warmup_steps);
  const auto total = static_cast<double>(total_steps);
  if (done < warmup) return spec.learning_rate * (done / std::max(1.0, warmup));

  const double span = std::max(1.0, total - warmup);
  switch (spec.schedule) {
    case common::Schedule::kConstant:
      return spec.learning_rate;
    case common::Schedule::kLinear:
      return spec.learning_rate * std::max(0.0, (total - done) / span);
    case common::Schedule::kCosine: {
      const double progress = (done - warmup) / span;
      return spec.learning_rate *
             std::max(0.0, 0.5 * (1.0 + std::cos(std::numbers::pi * progress)));
    }
  }
  return spec.learning_rate;
}

}  // namespace longlora::trainer
