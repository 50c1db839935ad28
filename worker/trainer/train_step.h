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
  int64_t tokens = 0;  // of all ranks
};

// Does update job.step + 1: fetch, forward and backward per micro-batch, sum over the ranks, clip,
// AdamW. A loss or gradient that is not finite stops before the update (NON_FINITE); a lost peer is
// PEER_LOST.
absl::StatusOr<StepResult> TrainStep(TrainingJob& job);

// Mean loss over the targets of `row` of the training set as a step computes it, without gradient:
// what a checkpoint is tested by at resume.
double TrainingLossOfRow(const TrainingJob& job, int64_t row);

}  // namespace longlora::trainer

#endif  // LONGLORA_WORKER_TRAINER_TRAIN_STEP_H_
