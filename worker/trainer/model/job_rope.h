// Which rotation a job trains with, from what the model's config.json has and what the job asks
// for. Pure. Called when the job is set up; docs/TRAINING.md tells users the same.
#ifndef LONGLORA_WORKER_TRAINER_MODEL_JOB_ROPE_H_
#define LONGLORA_WORKER_TRAINER_MODEL_JOB_ROPE_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "common/base_model/model_config.h"
#include "common/trainer_protocol/train_spec.h"

namespace longlora::trainer {

struct JobRotary {
  common::RotaryConfig rope;
  std::string warning;  // what the user should know of it; empty: nothing
};

// A model has one scaling: what is asked for replaces the file's, counted from the length before
// it. The default (linear without a factor) is no such wish: a scaling of the file stands as long
// as it reaches `max_sequence_length`, and INVALID_ARGUMENT asks for a choice where it does not.
// `default` keeps the file's, whatever it reaches. Scalings that depend on the length of the text
// are fixed at the row's, so that training, evaluation and the exported model turn alike: dynamic
// becomes the default kind with a larger theta, longrope keeps one of its two lists. A missing
// factor is max(1, max_sequence_length / original length).
absl::StatusOr<JobRotary> JobRope(const common::ModelConfig& config,
                                  const common::RopeScalingSpec& asked,
                                  int64_t max_sequence_length);

}  // namespace longlora::trainer

#endif  // LONGLORA_WORKER_TRAINER_MODEL_JOB_ROPE_H_
