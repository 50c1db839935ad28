// Cuts documents into rows. Pure functions over token counts and labels; RowDataset calls them.
//
// Documents are joined in the order of the file: since neither attention nor targets cross a
// document border, their order inside a row does not change what is learnt, and an unshuffled join
// keeps row K the same whatever the seed. Only the order of rows is shuffled, by RowSampler.
#ifndef LONGLORA_WORKER_TRAINER_DATA_PACKING_H_
#define LONGLORA_WORKER_TRAINER_DATA_PACKING_H_

#include <cstdint>
#include <vector>

#include "worker/trainer/data/documents.h"
#include "worker/trainer/data/row.h"

namespace longlora::trainer {

struct PackingOptions {
  int64_t max_sequence_length = 0;  // >= 2
  // true: documents are joined and cut every max_sequence_length tokens. false: a row starts with
  // every document, longer ones take several rows.
  bool packing = true;
  // Only with packing: true keeps a last, shorter row (validation), false leaves it out (training).
  bool keep_partial_row = false;
};

// Tokens [begin, end) of Documents.
struct RowRange {
  int64_t begin = 0;
  int64_t end = 0;
};

struct RowPlan {
  std::vector<RowRange> rows;
  int64_t num_dropped_tokens = 0;       // of the last, incomplete row
  int64_t num_rows_without_target = 0;  // left out
};

// Rows in order; those in which nothing is a target are left out and counted.
RowPlan PlanRows(const Documents& documents, const PackingOptions& options);

// The row of `range`, with the first token of each document in it masked as a target.
Row MakeRow(const Documents& documents, const RowRange& range);

// Targets of that row: labels that are not -100 after masking.
int64_t CountTargets(const Documents& documents, const RowRange& range);

}  // namespace longlora::trainer

#endif  // LONGLORA_WORKER_TRAINER_DATA_PACKING_H_
