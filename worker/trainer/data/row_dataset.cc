#include "worker/trainer/data/row_dataset.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status/annotate.h"
#include "common/status/status_macros.h"

namespace longlora::trainer {
namespace {

// A sentence for each thing that was left out.
void Warn(const Documents& documents, bool texts, const RowPlan& plan, int64_t length,
          std::vector<std::string>& warnings) {
  const auto warn = [&](int64_t count, const auto&... words) {
    if (count > 0) warnings.push_back(absl::StrCat(words...));
  };
  const SkippedDocuments& skipped = documents.skipped();
  warn(skipped.count, skipped.count, texts ? " documents hold no text" : " examples hold no answer",
       " and are left out, the first in line ", skipped.first_line);
  warn(plan.num_dropped_tokens, "the last ", plan.num_dropped_tokens, " of ",
       documents.num_tokens(), " tokens do not fill a row and are left out");
  warn(plan.num_rows_without_target, plan.num_rows_without_target,
       " rows hold nothing to predict and are left out");
  warn(plan.num_truncated, plan.num_truncated, " of ", documents.num_documents(),
       " examples are longer than max_sequence_length ", length, " and lost the oldest ",
       plan.num_truncated_tokens, " tokens of their prompts (dataset.length_policy)");
  warn(plan.num_dropped, plan.num_dropped, " of ", documents.num_documents(),
       " examples are longer than max_sequence_length ", length,
       " and are left out (dataset.length_policy)");
  warn(plan.num_answers_too_long, plan.num_answers_too_long, " of ", documents.num_documents(),
       " examples have an answer longer than max_sequence_length ", length, " and are left out");
  warn(plan.num_without_target, plan.num_without_target,
       " examples hold nothing to predict and are left out");
}

absl::Status NoRow(const std::string& path, const Documents& documents, const RowPlan& plan,
                   const PackingOptions& packing) {
  if (packing.whole_examples) {
    return absl::InvalidArgumentError(absl::StrCat(
        path, ": none of its ", documents.num_documents(), " examples fits max_sequence_length ",
        packing.max_sequence_length, " with its answer"));
  }
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
                                            PackingOptions packing) {
  if (packing.max_sequence_length < 2) {
    return absl::InvalidArgumentError("max_sequence_length must be at least 2");
  }
  const common::DatasetFormat format = documents.example.format;
  packing.whole_examples =
      format == common::DatasetFormat::kInstruction || format == common::DatasetFormat::kChat;
  RowDataset dataset;
  DatasetStats& stats = dataset.stats_;
  LONGLORA_ASSIGN_OR_RETURN(dataset.documents_,
                            ReadDocuments(documents, &stats.warnings, &stats.sha256));
  absl::StatusOr<RowPlan> planned = PlanRows(dataset.documents_, packing);
  if (!planned.ok()) return common::Annotate(planned.status(), documents.path);
  RowPlan& plan = dataset.plan_ = *std::move(planned);
  if (plan.num_rows() == 0) return NoRow(documents.path, dataset.documents_, plan, packing);
  Warn(dataset.documents_, format == common::DatasetFormat::kText, plan,
       packing.max_sequence_length, stats.warnings);
  stats.num_documents = dataset.documents_.num_documents();
  stats.num_rows = plan.num_rows();
  stats.num_tokens = CountTokens(plan.pieces);
  stats.num_targets = CountTargets(dataset.documents_, plan.pieces);
  stats.fill_ratio = static_cast<double>(stats.num_tokens) / static_cast<double>(stats.num_rows) /
                     static_cast<double>(packing.max_sequence_length);
  return dataset;
}

Row RowDataset::GetRow(int64_t index) const { return MakeRow(documents_, plan_.row(index)); }

}  // namespace longlora::trainer
