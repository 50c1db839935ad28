// Rows: what the model is trained on. Plain structs and pure functions, no torch.
#ifndef LONGLORA_WORKER_TRAINER_DATA_ROW_H_
#define LONGLORA_WORKER_TRAINER_DATA_ROW_H_

#include <cstdint>
#include <vector>

namespace longlora::trainer {

// One row of tokens, of one or several documents. All vectors but document_starts have its length.
struct Row {
  std::vector<int64_t> input_ids;
  // Aligned with input_ids as in transformers: labels[t] is predicted at t - 1. -100: not a target.
  // The first token of every document in the row is -100, so no document is predicted from another.
  std::vector<int64_t> labels;
  std::vector<int64_t> position_ids;     // restart at 0 with every document
  std::vector<int64_t> document_starts;  // ascending, the first is 0: where attention is cut
};

// Keeps the first `length` tokens at most.
void CutRow(int64_t length, Row& row);

// Rows side by side, right-padded to the longest. Padding is a document of its own without targets.
struct RowBatch {
  int64_t num_rows = 0;
  int64_t length = 0;
  std::vector<int64_t> input_ids;                     // [num_rows * length], row after row
  std::vector<int64_t> labels;                        // same; aligned as in Row
  std::vector<int64_t> position_ids;                  // same
  std::vector<std::vector<int64_t>> document_starts;  // one list a row
  int64_t num_tokens = 0;                             // without padding
  int64_t num_targets = 0;                            // labels that are not -100
};

// `rows` must not be empty. `padding_id` is any valid token.
RowBatch CollateRows(const std::vector<Row>& rows, int64_t padding_id);

}  // namespace longlora::trainer

#endif  // LONGLORA_WORKER_TRAINER_DATA_ROW_H_
