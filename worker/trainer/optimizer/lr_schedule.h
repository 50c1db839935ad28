// The learning rate of each step, as transformers' get_*_schedule_with_warmup define it. Pure.
#ifndef LONGLORA_WORKER_TRAINER_OPTIMIZER_LR_SCHEDULE_H_
#define LONGLORA_WORKER_TRAINER_OPTIMIZER_LR_SCHEDULE_H_

#include <cstdint>

#include "common/trainer_protocol/train_spec.h"

namespace longlora::trainer {

// Learning rate of update `step` (counted from 1) of `total_steps`. Step k takes the schedule's
// value at k - 1, as LambdaLR does: with a warm-up the first update has rate 0, and the peak is
// reached at step warmup_steps + 1. After the warm-up: constant stays at the peak; linear falls to
// 0 and cosine follows half a wave to 0, both at the step after the last.
double LearningRate(const common::OptimizerSpec& spec, int64_t step, int64_t total_steps);

}  // namespace longlora::trainer

#endif  // LONGLORA_WORKER_TRAINER_OPTIMIZER_LR_SCHEDULE_H_
