// Which tokens may see each other, as lists of segments (paper section 3.2; the split form, which
// never looks ahead): attention is causal inside a segment and nothing crosses a border. Pure
// functions from borders to borders, used by the model for training (shifted sparse) and evaluation
// (dense).
#ifndef LONGLORA_WORKER_TRAINER_ATTENTION_SEGMENTS_H_
#define LONGLORA_WORKER_TRAINER_ATTENTION_SEGMENTS_H_

#include <cstdint>
#include <vector>

namespace longlora::trainer {

// Rising token offsets 0 = b[0] < b[1] < ... < b[n] = row length; segment i holds tokens [b[i],
// b[i+1]).
using Borders = std::vector<int64_t>;

// The segments of one row. Of n query heads the first n/2 (rounded down) are unshifted, the others
// shifted; with dense attention both lists are the same.
struct RowSegments {
  Borders unshifted;
  Borders shifted;

  bool operator==(const RowSegments&) const = default;
};

// Borders of the documents of a row: `document_starts` rise from 0, the last ends with the row.
Borders DocumentBorders(const std::vector<int64_t>& document_starts, int64_t length);

// One segment per document.
RowSegments DenseSegments(const Borders& documents);

// S²-Attn with groups of `group_size` tokens (>= 2), cut at the documents' borders too. Unshifted
// heads: borders 0, G, 2G, ... of the row; shifted heads: 0, G/2, G/2 + G, ... No wrap-around, and
// any row length: the last group is just shorter. Groups count from the row's start, not the
// document's.
RowSegments ShiftedSparseSegments(const Borders& documents, int64_t group_size);

// A stretch of `count` neighbouring segments of `length` tokens each, from token `begin` on: what
// one batched attention call can do over strided views.
struct SegmentRun {
  int64_t begin = 0;
  int64_t length = 0;
  int64_t count = 0;

  bool operator==(const SegmentRun&) const = default;
};

// The fewest runs that cover all segments, in order.
std::vector<SegmentRun> SegmentRuns(const Borders& borders);

// Query heads [q_begin, q_end) and the key/value heads [kv_begin, kv_end) they use, so that every
// key/value head of the piece serves the same number of query heads.
struct HeadPiece {
  int64_t q_begin = 0;
  int64_t q_end = 0;
  int64_t kv_begin = 0;
  int64_t kv_end = 0;

  bool operator==(const HeadPiece&) const = default;
};

// Cuts query heads [q_begin, q_end) where a key/value head is shared with heads outside of the
// range. At most three pieces; one when the range starts and ends on a key/value head's border.
// Nothing has to be expanded this way, for any number of heads. `num_heads` is a multiple of
// `num_kv_heads`.
std::vector<HeadPiece> HeadPieces(int64_t q_begin, int64_t q_end, int64_t num_heads,
                                  int64_t num_kv_heads);

}  // namespace longlora::trainer

#endif  // LONGLORA_WORKER_TRAINER_ATTENTION_SEGMENTS_H_
