#include "worker/trainer/data/row_dataset.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status/status_macros.h"

namespace longlora::trainer {
namespace {

std::vector<std::string> Warnings(const Documents& documents, const RowPlan& plan) {
  std::vector<std::string> warnings;
  if (documents.num_skipped > 0) {
    warnings.push_back(absl::StrCat(documents.num_skipped,
                                    " documents hold no text and are left out, the first in line ",
                                    documents.first_skipped_line));
  }
  if (plan.num_dropped_tokens > 0) {
    warnings.push_back(absl::StrCat("the last ", plan.num_dropped_tokens, " of ",
                                    documents.num_tokens(),
                                    " tokens do not fill a row and are left out"));
  }
  if (plan.num_rows_without_target > 0) {
    warnings.push_back(absl::StrCat(plan.num_rows_without_target,
                                    " rows hold nothing to predict and are left out"));
  }
  return warnings;
}

absl::Status NoRow(const std::string& path, const Documents& documents, const RowPlan& plan,
                   const PackingOptions& packing) {
  if (plan.num_rows_without_target > 0) {
    return absl::InvalidArgumentError(absl::StrCat(
        path, ": cut to max_sequence_length ", packing.max_sequence_length, ", none of its ",
        plan.num_rows_without_target, " rows holds anything to predict"));
  }
  return absl::InvalidArgumentError(absl::StrCat(
      path, ": its ", documents.num_tokens(), " tokens do not fill one row of max_sequence_length ",
      packing.max_sequence_length,
      ": add documents, lower max_sequence_length or set dataset.packing to false"));
}

}  // namespace

absl::StatusOr<RowDataset> RowDataset::Load(const DocumentsOptions& documents,
                                            const PackingOptions& packing) {
  if (packing.max_sequence_length < 2) {
    return absl::InvalidArgumentError("max_sequence_length must be at least 2");
  }
  RowDataset dataset;
  LONGLORA_ASSIGN_OR_RETURN(dataset.documents_, ReadDocuments(documents));
  RowPlan plan = PlanRows(dataset.documents_, packing);
  if (plan.rows.empty()) return NoRow(documents.path, dataset.documents_, plan, packing);
  DatasetStats& stats = dataset.stats_;
  stats.warnings = Warnings(dataset.documents_, plan);
  stats.num_documents = dataset.documents_.num_documents();
  stats.num_rows = static_cast<int64_t>(plan.rows.size());
  for (const RowRange& row : plan.rows) {
    stats.num_tokens += row.end - row.begin;
    stats.num_targets += CountTargets(dataset.documents_, row);
  }
  stats.fill_ratio = static_cast<double>(stats.num_tokens) / static_cast<double>(stats.num_rows) /
                     static_cast<double>(packing.max_sequence_length);
  dataset.rows_ = std::move(plan.rows);
  return dataset;
}

Row RowDataset::GetRow(int64_t index) const {
  return MakeRow(documents_, rows_[static_cast<size_t>(index)]);
}

}  // namespace longlora::trainer
