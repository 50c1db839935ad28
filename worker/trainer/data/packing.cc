#include "worker/trainer/data/packing.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status/status_macros.h"
#include "worker/trainer/data/first_fit.h"

namespace longlora::trainer {
namespace {

// First token of the piece that may be a target.
int64_t FirstTarget(const Documents& documents, const Piece& piece) {
  // No document is predicted from another, and no token of a prompt from one far before it.
  const bool all_are_targets = documents.record(piece.document).has_labels == 0;
  if (!piece.continues || all_are_targets) return piece.begin + 1;
  const absl::Span<const int32_t> labels = documents.labels(piece.document);
  const auto is_target = [&](int64_t t) { return labels[static_cast<size_t>(t)] != kIgnoredLabel; };
  int64_t first = piece.begin;
  // Without its beginning an answer makes no sense.
  if (!is_target(first - 1)) return first;
  while (first < piece.end && is_target(first)) ++first;
  return first;
}

void AddRow(std::vector<Piece> pieces, RowPlan& plan) {
  plan.row_begins.push_back(static_cast<int64_t>(plan.pieces.size()));
  plan.pieces.insert(plan.pieces.end(), pieces.begin(), pieces.end());
}

// Rows of joined or single texts; those in which nothing is a target are left out and counted.
class TextPlanner {
 public:
  TextPlanner(const Documents& documents, const PackingOptions& options)
      : documents_(documents), options_(options) {}

  RowPlan Plan() {
    for (int64_t d = 0; d < documents_.num_documents(); ++d) {
      const int64_t length = documents_.record(d).length;
      for (int64_t begin = 0; begin < length;) {
        const int64_t end = std::min(length, begin + options_.max_sequence_length - row_length_);
        row_.push_back({.document = d, .begin = begin, .end = end});
        row_length_ += end - begin;
        begin = end;
        if (row_length_ == options_.max_sequence_length) CloseRow();
      }
      if (!options_.packing) CloseRow();
    }
    if (options_.keep_partial_row) {
      CloseRow();
    } else {
      plan_.num_dropped_tokens = row_length_;
    }
    return std::move(plan_);
  }

 private:
  void CloseRow() {
    if (row_.empty()) return;
    if (CountTargets(documents_, row_) > 0) {
      AddRow(row_, plan_);
    } else {
      ++plan_.num_rows_without_target;
    }
    row_.clear();
    row_length_ = 0;
  }

  const Documents& documents_;
  const PackingOptions& options_;
  RowPlan plan_;
  std::vector<Piece> row_;
  int64_t row_length_ = 0;
};

// The pieces of an example that is too long, without the oldest tokens of its prompt. Kept are the
// system message, if that leaves half the row to the rest, else the begin-of-text token, else
// nothing, whatever leaves room for the last answer. Empty: there is no room for it even so.
std::vector<Piece> TruncatePrompt(const DocumentRecord& record, int64_t document, int64_t length) {
  const int64_t excess = record.length - length;
  const int64_t head = 2 * int64_t{record.num_head} <= length ? record.num_head : record.num_bos;
  for (const int64_t kept : {head, int64_t{record.num_bos}}) {
    if (kept > 0 && kept + excess <= record.answer_begin) {
      return {
          {.document = document, .begin = 0, .end = kept},
          {.document = document, .begin = kept + excess, .end = record.length, .continues = true}};
    }
  }
  // The answer's first token is a target only if a token comes before it.
  if (excess >= record.answer_begin) return {};
  return {{.document = document, .begin = excess, .end = record.length}};
}

// Whole examples, each in the first row with room.
class ExamplePlanner {
 public:
  ExamplePlanner(const Documents& documents, const PackingOptions& options)
      : documents_(documents), options_(options), rows_(options.max_sequence_length) {}

  absl::StatusOr<RowPlan> Plan() {
    for (int64_t d = 0; d < documents_.num_documents(); ++d) {
      LONGLORA_ASSIGN_OR_RETURN(const std::vector<Piece> pieces, Fit(d));
      if (pieces.empty()) continue;
      if (CountTargets(documents_, pieces) == 0) {
        ++plan_.num_without_target;
        continue;
      }
      const size_t row = options_.packing ? rows_.Place(CountTokens(pieces)) : row_pieces_.size();
      if (row == row_pieces_.size()) row_pieces_.emplace_back();
      row_pieces_[row].insert(row_pieces_[row].end(), pieces.begin(), pieces.end());
    }
    for (std::vector<Piece>& row : row_pieces_) AddRow(std::move(row), plan_);
    return std::move(plan_);
  }

 private:
  // What of it goes into a row; empty: nothing.
  absl::StatusOr<std::vector<Piece>> Fit(int64_t document) {
    const DocumentRecord& record = documents_.record(document);
    const int64_t length = options_.max_sequence_length;
    if (record.length <= length) {
      return std::vector<Piece>{{.document = document, .begin = 0, .end = record.length}};
    }
    switch (options_.length_policy) {
      case common::LengthPolicy::kError:
        return absl::InvalidArgumentError(
            absl::StrCat("line ", record.line, ": the example has ", record.length,
                         " tokens, more than max_sequence_length ", length,
                         ": raise it, or set dataset.length_policy to truncate_prompt or drop"));
      case common::LengthPolicy::kDrop:
        ++plan_.num_dropped;
        return std::vector<Piece>();
      case common::LengthPolicy::kTruncatePrompt:
        break;
    }
    std::vector<Piece> pieces = TruncatePrompt(record, document, length);
    if (pieces.empty()) {
      ++plan_.num_answers_too_long;
    } else {
      ++plan_.num_truncated;
      plan_.num_truncated_tokens += record.length - length;
    }
    return pieces;
  }

  const Documents& documents_;
  const PackingOptions& options_;
  RowPlan plan_;
  FirstFit rows_;
  std::vector<std::vector<Piece>> row_pieces_;
};

}  // namespace

absl::Span<const Piece> RowPlan::row(int64_t index) const {
  const auto row = static_cast<size_t>(index);
  const auto begin = static_cast<size_t>(row_begins[row]);
  const size_t end =
      row + 1 < row_begins.size() ? static_cast<size_t>(row_begins[row + 1]) : pieces.size();
  return absl::MakeConstSpan(pieces).subspan(begin, end - begin);
}

absl::StatusOr<RowPlan> PlanRows(const Documents& documents, const PackingOptions& options) {
  if (options.whole_examples) return ExamplePlanner(documents, options).Plan();
  return TextPlanner(documents, options).Plan();
}

Row MakeRow(const Documents& documents, absl::Span<const Piece> pieces) {
  Row row;
  for (const Piece& piece : pieces) {
    const auto begin = static_cast<size_t>(piece.begin);
    const auto size = static_cast<size_t>(piece.end - piece.begin);
    const auto row_begin = static_cast<int64_t>(row.input_ids.size());
    if (!piece.continues) row.document_starts.push_back(row_begin);
    const absl::Span<const int32_t> ids = documents.ids(piece.document).subspan(begin, size);
    row.input_ids.insert(row.input_ids.end(), ids.begin(), ids.end());
    const absl::Span<const int32_t> labels = documents.labels(piece.document).subspan(begin, size);
    row.labels.insert(row.labels.end(), labels.begin(), labels.end());
    const int64_t num_masked = FirstTarget(documents, piece) - piece.begin;
    std::fill_n(row.labels.begin() + row_begin, num_masked, kIgnoredLabel);
    for (int64_t t = row_begin; t < static_cast<int64_t>(row.input_ids.size()); ++t) {
      row.position_ids.push_back(t - row.document_starts.back());
    }
  }
  return row;
}

int64_t CountTargets(const Documents& documents, absl::Span<const Piece> pieces) {
  int64_t count = 0;
  for (const Piece& piece : pieces) {
    const absl::Span<const int32_t> labels = documents.labels(piece.document);
    const int64_t first = FirstTarget(documents, piece);
    count += (piece.end - first) -
             std::count(labels.begin() + first, labels.begin() + piece.end, kIgnoredLabel);
  }
  return count;
}

int64_t CountTokens(absl::Span<const Piece> pieces) {
  int64_t count = 0;
  for (const Piece& piece : pieces) count += piece.end - piece.begin;
  return count;
}

}  // namespace longlora::trainer
