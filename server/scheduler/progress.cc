#include "server/scheduler/progress.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <optional>

namespace longlora::server {
namespace {

// Weight of the newest step: the estimate forgets a slow start within some twenty steps.
constexpr double kNewestWeight = 0.1;

// The smoothed duration needs no field of its own: it is remaining_seconds over the steps that
// remained.
std::optional<double> SecondsPerStep(const v1::Progress& progress) {
  const int64_t left = progress.total_steps() - progress.step();
  if (!progress.has_remaining_seconds() || left <= 0) return std::nullopt;
  return progress.remaining_seconds() / static_cast<double>(left);
}

void TakeStep(const v1::Step& step, v1::Progress& progress) {
  const std::optional<double> before = SecondsPerStep(progress);
  progress.set_step(step.step());
  progress.set_loss(step.loss());
  progress.set_learning_rate(step.learning_rate());
  progress.set_grad_norm(step.grad_norm());
  progress.set_tokens_per_second(step.tokens_per_second());
  progress.set_tokens(progress.tokens() + step.tokens());
  progress.set_memory_peak_bytes(std::max(progress.memory_peak_bytes(), step.memory_bytes()));
  progress.set_skipped_steps(step.skipped_steps());

  const double seconds = static_cast<double>(step.tokens()) / step.tokens_per_second();
  if (progress.total_steps() <= 0 || !std::isfinite(seconds) || seconds <= 0.0) return;
  const double smoothed =
      before.has_value() ? *before + kNewestWeight * (seconds - *before) : seconds;
  const int64_t left = std::max<int64_t>(0, progress.total_steps() - step.step());
  progress.set_remaining_seconds(smoothed * static_cast<double>(left));
}

}  // namespace

void UpdateProgress(const v1::JobEvent& event, v1::Progress& progress) {
  switch (event.body_case()) {
    case v1::JobEvent::kPrepared:
      progress.set_total_steps(event.prepared().total_steps());
      break;
    case v1::JobEvent::kStep:
      TakeStep(event.step(), progress);
      break;
    case v1::JobEvent::kEvaluation:
      progress.set_validation_loss(event.evaluation().loss());
      if (event.evaluation().has_training_pattern_loss()) {
        progress.set_fidelity_gap(event.evaluation().training_pattern_loss() -
                                  event.evaluation().loss());
      }
      break;
    default:
      break;
  }
}

}  // namespace longlora::server
