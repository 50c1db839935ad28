#include "worker/trainer/batch.h"

#include <algorithm>
#include <cmath>

#include "common/trainer_protocol/spec_rules.h"

namespace longlora::trainer {
namespace {

torch::Tensor ToTensor(const std::vector<int64_t>& values, const RowBatch& rows,
                       torch::Device device) {
  return torch::tensor(values, torch::kInt64).view({rows.num_rows, rows.length}).to(device);
}

}  // namespace

RowSegments SegmentsOfDocuments(const Borders& documents, const BatchAttention& attention) {
  return attention.pattern == common::AttentionPattern::kDense
             ? DenseSegments(documents)
             : ShiftedSparseSegments(documents, attention.group_size);
}

BatchAttention TrainingAttention(const common::TrainSpec& spec) {
  return {.pattern = spec.method.attention.pattern, .group_size = common::GroupSize(spec)};
}

std::optional<int64_t> DenseStartStep(const common::TrainSpec& spec, int64_t total_steps) {
  const double fraction = spec.method.attention.dense_final_fraction;
  if (fraction <= 0.0) return std::nullopt;
  // 0.07 of 100 steps are 7, though the product is a little more.
  constexpr double kRounding = 1e-9;
  const double share = std::ceil(fraction * static_cast<double>(total_steps) - kRounding);
  const auto num_dense = std::clamp<int64_t>(static_cast<int64_t>(share), 1, total_steps);
  return total_steps - num_dense + 1;
}

BatchAttention StepAttention(const common::TrainSpec& spec, int64_t step, int64_t total_steps) {
  const std::optional<int64_t> dense_start = DenseStartStep(spec, total_steps);
  return dense_start.has_value() && step >= *dense_start ? BatchAttention{}
                                                         : TrainingAttention(spec);
}

Batch MakeBatch(const std::vector<Row>& rows, const BatchAttention& attention,
                torch::Device device) {
  constexpr int64_t kPaddingId = 0;  // any valid token: padding is never a target and never seen
  const RowBatch collated = CollateRows(rows, kPaddingId);

  Batch batch;
  batch.input.input_ids = ToTensor(collated.input_ids, collated, device);
  batch.input.position_ids = ToTensor(collated.position_ids, collated, device);
  for (const std::vector<int64_t>& starts : collated.document_starts) {
    batch.input.segments.push_back(
        SegmentsOfDocuments(DocumentBorders(starts, collated.length), attention));
  }
  batch.labels = ToTensor(collated.labels, collated, device);
  batch.num_tokens = collated.num_tokens;
  batch.num_targets = collated.num_targets;
  return batch;
}

Batch MakeBatch(const RowDataset& dataset, const std::vector<int64_t>& indices,
                const BatchAttention& attention, torch::Device device) {
  std::vector<Row> rows;
  rows.reserve(indices.size());
  for (const int64_t index : indices) rows.push_back(dataset.GetRow(index));
  return MakeBatch(rows, attention, device);
}

}  // namespace longlora::trainer
