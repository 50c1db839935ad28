#include "worker/trainer/data/packing.h"

#include <algorithm>

namespace longlora::trainer {
namespace {

// Index of the first document that begins after `token`.
size_t DocumentAfter(const Documents& documents, int64_t token) {
  return static_cast<size_t>(
      std::upper_bound(documents.begins.begin(), documents.begins.end(), token) -
      documents.begins.begin());
}

// [begin, end) in pieces of `length`.
void Cut(int64_t begin, int64_t end, int64_t length, std::vector<RowRange>& rows) {
  for (; begin < end; begin += length) rows.push_back({begin, std::min(begin + length, end)});
}

}  // namespace

RowPlan PlanRows(const Documents& documents, const PackingOptions& options) {
  RowPlan plan;
  std::vector<RowRange> rows;
  if (options.packing) {
    const int64_t length = options.max_sequence_length;
    const int64_t partial = documents.num_tokens() % length;
    plan.num_dropped_tokens = options.keep_partial_row ? 0 : partial;
    Cut(0, documents.num_tokens() - plan.num_dropped_tokens, length, rows);
  } else {
    for (size_t i = 0; i < documents.begins.size(); ++i) {
      const int64_t end =
          i + 1 < documents.begins.size() ? documents.begins[i + 1] : documents.num_tokens();
      Cut(documents.begins[i], end, options.max_sequence_length, rows);
    }
  }
  for (const RowRange& row : rows) {
    if (CountTargets(documents, row) > 0) {
      plan.rows.push_back(row);
    } else {
      ++plan.num_rows_without_target;
    }
  }
  return plan;
}

Row MakeRow(const Documents& documents, const RowRange& range) {
  const std::vector<int32_t>& labels = documents.labels.empty() ? documents.ids : documents.labels;
  Row row;
  row.input_ids.assign(documents.ids.begin() + range.begin, documents.ids.begin() + range.end);
  row.labels.assign(labels.begin() + range.begin, labels.begin() + range.end);
  row.document_starts.push_back(0);
  for (size_t i = DocumentAfter(documents, range.begin);
       i < documents.begins.size() && documents.begins[i] < range.end; ++i) {
    row.document_starts.push_back(documents.begins[i] - range.begin);
  }
  row.position_ids.resize(row.input_ids.size());
  for (size_t d = 0; d < row.document_starts.size(); ++d) {
    const int64_t start = row.document_starts[d];
    const int64_t end = d + 1 < row.document_starts.size()
                            ? row.document_starts[d + 1]
                            : static_cast<int64_t>(row.input_ids.size());
    row.labels[static_cast<size_t>(start)] = kIgnoredLabel;
    for (int64_t t = start; t < end; ++t) row.position_ids[static_cast<size_t>(t)] = t - start;
  }
  return row;
}

int64_t CountTargets(const Documents& documents, const RowRange& range) {
  const std::vector<int32_t>& labels = documents.labels.empty() ? documents.ids : documents.labels;
  int64_t count = (range.end - range.begin) - std::count(labels.begin() + range.begin,
                                                         labels.begin() + range.end, kIgnoredLabel);
  // The first token of the row and of every document in it is no target.
  count -= labels[static_cast<size_t>(range.begin)] != kIgnoredLabel;
  for (size_t i = DocumentAfter(documents, range.begin);
       i < documents.begins.size() && documents.begins[i] < range.end; ++i) {
    count -= labels[static_cast<size_t>(documents.begins[i])] != kIgnoredLabel;
  }
  return count;
}

}  // namespace longlora::trainer
