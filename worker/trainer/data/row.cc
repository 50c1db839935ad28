#include "worker/trainer/data/row.h"

#include <algorithm>

#include "worker/trainer/data/documents.h"

namespace longlora::trainer {

void CutRow(int64_t length, Row& row) {
  if (static_cast<int64_t>(row.input_ids.size()) <= length) return;
  for (std::vector<int64_t>* values : {&row.input_ids, &row.labels, &row.position_ids}) {
    values->resize(static_cast<size_t>(length));
  }
  std::vector<int64_t>& starts = row.document_starts;
  starts.erase(std::lower_bound(starts.begin(), starts.end(), length), starts.end());
}

RowBatch CollateRows(const std::vector<Row>& rows, int64_t padding_id) {
  RowBatch batch;
  batch.num_rows = static_cast<int64_t>(rows.size());
  for (const Row& row : rows) {
    batch.length = std::max(batch.length, static_cast<int64_t>(row.input_ids.size()));
  }
  for (const Row& row : rows) {
    const int64_t size = static_cast<int64_t>(row.input_ids.size());
    const size_t num_padding = static_cast<size_t>(batch.length - size);
    batch.input_ids.insert(batch.input_ids.end(), row.input_ids.begin(), row.input_ids.end());
    batch.input_ids.insert(batch.input_ids.end(), num_padding, padding_id);
    batch.labels.insert(batch.labels.end(), row.labels.begin(), row.labels.end());
    batch.labels.insert(batch.labels.end(), num_padding, kIgnoredLabel);
    batch.position_ids.insert(batch.position_ids.end(), row.position_ids.begin(),
                              row.position_ids.end());
    for (size_t i = 0; i < num_padding; ++i) batch.position_ids.push_back(static_cast<int64_t>(i));
    batch.document_starts.push_back(row.document_starts);
    if (num_padding > 0) batch.document_starts.back().push_back(size);
    batch.num_tokens += size;
  }
  batch.num_targets = static_cast<int64_t>(batch.labels.size()) -
                      std::count(batch.labels.begin(), batch.labels.end(), kIgnoredLabel);
  return batch;
}

}  // namespace longlora::trainer
