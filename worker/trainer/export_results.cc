#include "worker/trainer/export_results.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/trainer_protocol/spec_rules.h"
#include "worker/trainer/checkpoint/adapter_export.h"
#include "worker/trainer/checkpoint/merged_export.h"
#include "worker/trainer/failure.h"

namespace longlora::trainer {
namespace {

LoraWeights Weights(const TrainingJob& job) {
  LoraWeights weights;
  for (const auto& module : job.lora) {
    weights.lora[module->module_name()] = {.a = module->a().detach().cpu(),
                                           .b = module->b().detach().cpu()};
  }
  for (const Parameter& parameter : job.model->trained_parameters()) {
    weights.trained[parameter.name] = parameter.value.detach().cpu();
  }
  return weights;
}

// The scaling the model was trained with. It serves rows of the training length; a longer limit of
// the base model stands.
HuggingFaceRope TrainedRope(const TrainingJob& job) {
  const auto& rope = job.model->options().rope;
  HuggingFaceRope written;
  written.type = rope.factor > 1.0 ? "linear" : "default";
  written.theta = rope.theta;
  written.factor = rope.factor;
  written.max_position_embeddings =
      std::max(job.model->config().max_position_embeddings, job.spec().max_sequence_length);
  if (rope.factor > 1.0) {
    written.original_max_position_embeddings = job.model->config().original_max_position_embeddings;
  }
  return written;
}

std::vector<std::pair<std::string, std::string>> Facts(const TrainingJob& job) {
  const common::TrainSpec& spec = job.spec();
  const bool sparse = spec.method.attention.pattern == common::AttentionPattern::kShiftedSparse;
  std::vector<std::pair<std::string, std::string>> facts = {
      {"Training steps",
       absl::StrCat(job.exported_step.value_or(job.step), " of ", job.total_steps)},
      {"Tokens a row", absl::StrCat(spec.max_sequence_length)},
      {"Attention in training",
       sparse ? absl::StrCat("shifted sparse, groups of ", common::GroupSize(spec), " tokens")
              : std::string("dense")},
      {"Learning rate", absl::StrCat(spec.optimizer.learning_rate)},
  };
  if (const auto& best = job.validation_record.best_loss;
      job.exported_step.has_value() && best.has_value()) {
    facts.emplace_back("Validation loss, the lowest of the run", absl::StrCat(*best));
  } else {
    facts.emplace_back("Training loss of the last step", absl::StrCat(job.last_loss));
  }
  return facts;
}

}  // namespace

absl::Status WriteAdapter(const TrainingJob& job, const std::string& directory) {
  const common::LoraSpec& lora = job.spec().method.lora;
  AdapterExport adapter;
  adapter.weights = Weights(job);
  adapter.rank = lora.rank;
  adapter.alpha = lora.alpha;
  adapter.dropout = lora.dropout;
  adapter.target_modules = lora.target_modules;
  adapter.base_model = job.spec().base_model;
  adapter.tie_word_embeddings = job.model->config().tie_word_embeddings;
  adapter.rope = TrainedRope(job);
  adapter.facts = Facts(job);
  return BlameInput(ExportAdapter(adapter, directory), "EXPORT_INVALID");
}

absl::Status WriteMerged(const TrainingJob& job, const std::string& directory) {
  const common::LoraSpec& lora = job.spec().method.lora;
  MergedExport merged;
  merged.base_directory = job.base_directory;
  merged.weights = Weights(job);
  merged.scale = LoraScale(lora.rank, lora.alpha, lora.use_rslora);
  merged.tie_word_embeddings = job.model->config().tie_word_embeddings;
  merged.rope = TrainedRope(job);
  return BlameInput(ExportMerged(merged, directory), "EXPORT_INVALID");
}

}  // namespace longlora::trainer
