// Rows as tensors with their segments: what one forward takes. Pure.
#ifndef LONGLORA_WORKER_TRAINER_BATCH_H_
#define LONGLORA_WORKER_TRAINER_BATCH_H_

#include <cstdint>
#include <optional>
#include <vector>

#include "common/trainer_protocol/train_spec.h"
#include "worker/trainer/data/row_dataset.h"
#include "worker/trainer/model/llama_model.h"
#include "worker/trainer/torch.h"

namespace longlora::trainer {

struct Batch {
  ModelInput input;
  torch::Tensor labels;    // [B, T] int64
  int64_t num_tokens = 0;  // without padding
  int64_t num_targets = 0;
};

// Which tokens of a batch attend to which.
struct BatchAttention {
  common::AttentionPattern pattern = common::AttentionPattern::kDense;
  int64_t group_size = 0;  // of kShiftedSparse, in tokens
};

// The training pattern of a job.
BatchAttention TrainingAttention(const common::TrainSpec& spec);

// The first step of the last dense_final_fraction of `total_steps`, rounded up to whole steps,
// which train with dense attention; nullopt: none. A run that ends early may not reach it.
std::optional<int64_t> DenseStartStep(const common::TrainSpec& spec, int64_t total_steps);

// What step `step` (counted from 1) of `total_steps` trains with.
BatchAttention StepAttention(const common::TrainSpec& spec, int64_t step, int64_t total_steps);

// `documents`: borders of a row's documents (segments.h).
RowSegments SegmentsOfDocuments(const Borders& documents, const BatchAttention& attention);

// `rows` side by side, on `device`; there is at least one.
Batch MakeBatch(const std::vector<Row>& rows, const BatchAttention& attention,
                torch::Device device);

// The rows `indices` of `dataset`.
Batch MakeBatch(const RowDataset& dataset, const std::vector<int64_t>& indices,
                const BatchAttention& attention, torch::Device device);

}  // namespace longlora::trainer

#endif  // LONGLORA_WORKER_TRAINER_BATCH_H_
