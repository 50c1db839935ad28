#include "worker/trainer/batch.h"

#include "common/trainer_protocol/spec_rules.h"

namespace longlora::trainer {
namespace {

torch::Tensor ToTensor(const std::vector<int64_t>& values, const RowBatch& rows,
                       torch::Device device) {
  return torch::tensor(values, torch::kInt64).view({rows.num_rows, rows.length}).to(device);
}

RowSegments SegmentsOfRow(std::vector<int64_t> document_starts, int64_t length,
                          const BatchAttention& attention) {
  Borders documents = std::move(document_starts);
  documents.push_back(length);
  return attention.pattern == common::AttentionPattern::kDense
             ? DenseSegments(documents)
             : ShiftedSparseSegments(documents, attention.group_size);
}

}  // namespace

BatchAttention TrainingAttention(const common::TrainSpec& spec) {
  return {.pattern = spec.method.attention.pattern, .group_size = common::GroupSize(spec)};
}

Batch MakeBatch(const RowDataset& dataset, const std::vector<int64_t>& indices,
                const BatchAttention& attention, torch::Device device) {
  constexpr int64_t kPaddingId = 0;  // any valid token: padding is never a target and never seen
  std::vector<Row> rows;
  rows.reserve(indices.size());
  for (const int64_t index : indices) rows.push_back(dataset.GetRow(index));
  const RowBatch collated = CollateRows(rows, kPaddingId);

  Batch batch;
  batch.input.input_ids = ToTensor(collated.input_ids, collated, device);
  batch.input.position_ids = ToTensor(collated.position_ids, collated, device);
  for (const std::vector<int64_t>& starts : collated.document_starts) {
    batch.input.segments.push_back(SegmentsOfRow(starts, collated.length, attention));
  }
  batch.labels = ToTensor(collated.labels, collated, device);
  batch.num_tokens = collated.num_tokens;
  batch.num_targets = collated.num_targets;
  return batch;
}

}  // namespace longlora::trainer
