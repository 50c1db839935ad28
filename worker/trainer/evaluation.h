// The validation loss with dense attention, as the trained model is used at inference. Called by
// the loop.
#ifndef LONGLORA_WORKER_TRAINER_EVALUATION_H_
#define LONGLORA_WORKER_TRAINER_EVALUATION_H_

#include <cstdint>
#include <optional>

#include "absl/status/statusor.h"
#include "worker/trainer/training_job.h"

namespace longlora::trainer {

struct EvaluationResult {
  double loss = 0.0;  // mean over the target tokens of the validation set, in nats
  int64_t targets = 0;
};

// Rows are shared among the ranks; every rank gets the same result. nullopt: a stop was asked for
// on some rank meanwhile, so that a checkpoint need not wait for a long evaluation. UNAVAILABLE: a
// peer was lost.
absl::StatusOr<std::optional<EvaluationResult>> Evaluate(const TrainingJob& job);

}  // namespace longlora::trainer

#endif  // LONGLORA_WORKER_TRAINER_EVALUATION_H_
