#include "worker/trainer/attention/segments.h"

#include <c10/util/Exception.h>

#include <algorithm>

namespace longlora::trainer {
namespace {

// Borders of `documents` and every `step` tokens from `first` on, merged.
Borders CutEvery(const Borders& documents, int64_t first, int64_t step) {
  Borders borders;
  size_t next_document = 0;
  int64_t next_group = first;
  while (next_document < documents.size()) {
    const int64_t border = std::min(documents[next_document], next_group);
    borders.push_back(border);
    if (border == documents[next_document]) ++next_document;
    if (border == next_group) next_group += step;
  }
  return borders;
}

}  // namespace

Borders DocumentBorders(const std::vector<int64_t>& document_starts, int64_t length) {
  Borders borders = document_starts;
  borders.push_back(length);
  return borders;
}

RowSegments DenseSegments(const Borders& documents) { return {documents, documents}; }

RowSegments ShiftedSparseSegments(const Borders& documents, int64_t group_size) {
  TORCH_CHECK(group_size >= 2, "a group of ", group_size, " tokens cannot be shifted by half");
  return {CutEvery(documents, group_size, group_size),
          CutEvery(documents, group_size / 2, group_size)};
}

std::vector<SegmentRun> SegmentRuns(const Borders& borders) {
  std::vector<SegmentRun> runs;
  for (size_t i = 1; i < borders.size(); ++i) {
    const int64_t length = borders[i] - borders[i - 1];
    if (!runs.empty() && runs.back().length == length) {
      ++runs.back().count;
    } else {
      runs.push_back({borders[i - 1], length, 1});
    }
  }
  return runs;
}

std::vector<HeadPiece> HeadPieces(int64_t q_begin, int64_t q_end, int64_t num_heads,
                                  int64_t num_kv_heads) {
  const int64_t share = num_heads / num_kv_heads;  // query heads per key/value head
  std::vector<HeadPiece> pieces;
  int64_t q = q_begin;
  while (q < q_end) {
    const int64_t kv = q / share;
    int64_t end = std::min(q_end, (kv + 1) * share);
    // Whole key/value heads go together.
    if (q % share == 0 && q_end - q >= share) end = q_end / share * share;
    pieces.push_back({q, end, kv, (end + share - 1) / share});
    q = end;
  }
  return pieces;
}

}  // namespace longlora::trainer
