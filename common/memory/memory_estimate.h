// What a rank of a job needs at its peak, told from the spec and the shape of the model alone:
// nothing is loaded or tried. Pure arithmetic over the tensors that the trainer has at each moment
// of a run (layer_memory.h: those of one layer). The server answers EstimateFineTuneJob with it,
// the client `estimate --model`, and the trainer tells it beside the peak it measures; tests hold
// the two together on CPU.
#ifndef LONGLORA_COMMON_MEMORY_MEMORY_ESTIMATE_H_
#define LONGLORA_COMMON_MEMORY_MEMORY_ESTIMATE_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/base_model/model_config.h"
#include "common/trainer_protocol/train_spec.h"

namespace longlora::common {

struct MemoryComponent {
  std::string name;         // lower_snake, one of the words of docs/TRAINING.md
  std::string description;  // for people
  int64_t bytes = 0;
};

// The moment of a run at which a rank has most in memory.
struct MemoryEstimate {
  std::string moment;                       // for people: "the backward pass of a training step"
  std::vector<MemoryComponent> components;  // all there is then, largest first, none empty
  int64_t total_bytes = 0;                  // their sum
};

// The peak of rank 0, which is that of any rank but for the checkpoints and results that only rank
// 0 writes. Rows count as max_sequence_length long, even where `packing: false` makes them shorter.
// `bf16_products`: whether the CPU multiplies bf16 matrices; without, training.precision bf16
// computes in fp32 there. INVALID_ARGUMENT names a field that does not fit the model: a target
// module it does not have, or a row beyond its sliding window. `spec` has passed CheckTrainSpec.
absl::StatusOr<MemoryEstimate> EstimateMemory(const TrainSpec& spec, const ModelConfig& model,
                                              bool bf16_products = true);

// Whether a checkpoint is made while steps are left, so that the copy it is written from lies
// beside a step. `total_steps`: of the job; nullopt: not known yet, as with training.epochs.
bool CheckpointsWhileTraining(const TrainSpec& spec, std::optional<int64_t> total_steps);

// "12.3 GB of base_weights, ..." of the `count` largest.
std::string DescribeLargest(const MemoryEstimate& estimate, size_t count);

}  // namespace longlora::common

#endif  // LONGLORA_COMMON_MEMORY_MEMORY_ESTIMATE_H_
