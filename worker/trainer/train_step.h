// One optimizer update. Called by the loop; changes the job's trained parameters, optimizer and
// sampler.
#ifndef LONGLORA_WORKER_TRAINER_TRAIN_STEP_H_
#define LONGLORA_WORKER_TRAINER_TRAIN_STEP_H_

#include <cstdint>

#include "absl/status/statusor.h"
#include "worker/trainer/training_job.h"

namespace longlora::trainer {

struct StepResult {
  double loss =
      0.0;  // before the update: mean over the target tokens of all micro-batches and ranks
  double grad_norm = 0.0;  // before clipping
  double learning_rate = 0.0;
  int64_t tokens = 0;    // of all ranks
  bool skipped = false;  // loss or grad_norm is not finite: no update was made
};

// Does step job.step + 1: fetch, forward and backward per micro-batch, sum over the ranks, clip,
// AdamW. With a loss or gradient that is not finite the update is left out, weights and optimizer
// stay as they are, and the step counts as done: data and learning rate go on. A lost peer is
// PEER_LOST.
absl::StatusOr<StepResult> TrainStep(TrainingJob& job);

// Mean loss over the first tokens of the first training row, as a step computes it, without
// gradient: what a checkpoint is tested by at resume. So few tokens that it costs a run nothing,
// however long its rows. Where none of them is a target (a long prompt) all of them are.
double WitnessLoss(const TrainingJob& job);

}  // namespace longlora::trainer

#endif  // LONGLORA_WORKER_TRAINER_TRAIN_STEP_H_
