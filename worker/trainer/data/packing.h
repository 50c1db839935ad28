// Plans rows of documents. Pure functions over token counts and labels; RowDataset calls them.
//
// Text and tokens are joined in the order of the file and cut: since neither attention nor targets
// cross a document border, their order inside a row does not change what is learnt, and an
// unshuffled join keeps row K the same whatever the seed. Examples (instruction, chat) stay whole:
// each goes into the first row that has room for it, and one that is longer than a row is dealt
// with by LengthPolicy. Only the order of rows is shuffled, by RowSampler.
#ifndef LONGLORA_WORKER_TRAINER_DATA_PACKING_H_
#define LONGLORA_WORKER_TRAINER_DATA_PACKING_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/trainer_protocol/train_spec.h"
#include "worker/trainer/data/documents.h"
#include "worker/trainer/data/row.h"

namespace longlora::trainer {

struct PackingOptions {
  int64_t max_sequence_length = 0;  // >= 2
  // true: several documents share a row. false: a row starts with every document, and longer texts
  // take several rows.
  bool packing = true;
  // Only when texts are packed: true keeps a last, shorter row (validation), false leaves it out
  // (training).
  bool keep_partial_row = false;
  // Documents are examples, never cut at the end.
  bool whole_examples = false;
  common::LengthPolicy length_policy = common::LengthPolicy::kTruncatePrompt;
};

// Tokens [begin, end) of a document in a row.
struct Piece {
  int64_t document = 0;
  int64_t begin = 0;
  int64_t end = 0;
  // The piece before it is of the same document and what lies between was cut out: no border here.
  bool continues = false;
};

struct RowPlan {
  std::vector<Piece> pieces;        // row after row
  std::vector<int64_t> row_begins;  // index of each row's first piece

  int64_t num_dropped_tokens = 0;       // of the last, incomplete row of texts
  int64_t num_rows_without_target = 0;  // of texts, left out
  // Examples longer than a row.
  int64_t num_truncated = 0;         // lost a part of their prompt
  int64_t num_truncated_tokens = 0;  // and so much of it in all
  int64_t num_dropped = 0;           // left out, by LengthPolicy::kDrop
  int64_t num_answers_too_long = 0;  // left out: not even the last answer fits
  // Examples left out because nothing in them is a target.
  int64_t num_without_target = 0;

  int64_t num_rows() const { return static_cast<int64_t>(row_begins.size()); }
  absl::Span<const Piece> row(int64_t index) const;
};

// Rows in order. INVALID_ARGUMENT, starting "line N: ", for an example that is too long under
// LengthPolicy::kError.
absl::StatusOr<RowPlan> PlanRows(const Documents& documents, const PackingOptions& options);

// The row of `pieces`, with the first token of each document in it masked as a target, and the rest
// of an answer whose beginning was cut out.
Row MakeRow(const Documents& documents, absl::Span<const Piece> pieces);

// Targets of that row: labels that are not -100 after masking.
int64_t CountTargets(const Documents& documents, absl::Span<const Piece> pieces);
int64_t CountTokens(absl::Span<const Piece> pieces);

}  // namespace longlora::trainer

#endif  // LONGLORA_WORKER_TRAINER_DATA_PACKING_H_
