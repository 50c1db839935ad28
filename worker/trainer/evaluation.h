// How well the model does on the validation set, as it is used at inference (dense attention) and
// as it is trained, and whether it finds passkeys. Called by the loop on all ranks, which share the
// rows and get the same result. A row at a time and the output head in chunks: no evaluation needs
// more memory than a training step.
#ifndef LONGLORA_WORKER_TRAINER_EVALUATION_H_
#define LONGLORA_WORKER_TRAINER_EVALUATION_H_

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "common/trainer_protocol/trainer_event.h"
#include "worker/trainer/training_job.h"

namespace longlora::trainer {

// Equal parts of max_sequence_length for the loss by position; fewer when that is shorter.
inline constexpr int64_t kPositionBuckets = 8;

struct EvaluationResult {
  double loss = 0.0;  // mean over the target tokens of the validation set, in nats
  int64_t targets = 0;
  // With the attention pattern of training; nullopt when that is dense.
  std::optional<double> training_pattern_loss;
  // Bucket i holds the targets with [i, i + 1) eighths of max_sequence_length tokens of their
  // document before them in the row. Those without targets are left out.
  std::vector<common::PositionBucket> buckets;
};

// nullopt: a stop was asked for on some rank meanwhile, so that a checkpoint need not wait for a
// long evaluation. UNAVAILABLE: a peer was lost.
absl::StatusOr<std::optional<EvaluationResult>> Evaluate(const TrainingJob& job);

// One entry for each of evaluation.passkey.lengths; none without any. nullopt and errors as above.
absl::StatusOr<std::optional<std::vector<common::PasskeyResult>>> ProbePasskeys(
    const TrainingJob& job);

}  // namespace longlora::trainer

#endif  // LONGLORA_WORKER_TRAINER_EVALUATION_H_
