#include "worker/trainer/export_results.h"

#include <algorithm>
#include <filesystem>
#include <optional>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "worker/trainer/checkpoint/adapter_names.h"
#include "worker/trainer/checkpoint/merged_export.h"
#include "worker/trainer/events/tensorboard_log.h"
#include "worker/trainer/failure.h"
#include "worker/trainer/job_facts.h"

namespace longlora::trainer {
namespace {

// The trained tensors by name, on the CPU; those that lie there already are not copied.
TensorMap TrainedTensors(const TrainingJob& job) {
  TensorMap tensors;
  for (const Parameter& parameter : job.trained) {
    tensors[parameter.name] = parameter.value.detach().cpu();
  }
  return tensors;
}

LoraWeights Weights(const TrainingJob& job, const TensorMap& trained) {
  LoraWeights weights;
  for (const auto& module : job.lora) {
    const std::string& name = module->module_name();
    weights.lora[name] = {.a = trained.at(name + std::string(kLoraASuffix)),
                          .b = trained.at(name + std::string(kLoraBSuffix))};
  }
  for (const Parameter& parameter : job.model->trained_parameters()) {
    weights.trained[parameter.name] = trained.at(parameter.name);
  }
  return weights;
}

// Keys of the kind beyond theta, factor and the original length.
nlohmann::ordered_json KindParameters(const common::ModelConfig& config,
                                      const common::RotaryConfig& rope) {
  const double stretch = static_cast<double>(config.max_position_embeddings) /
                         static_cast<double>(config.original_max_position_embeddings);
  nlohmann::ordered_json extra = nlohmann::ordered_json::object();
  const auto put = [&](const char* key, const std::optional<double>& value) {
    if (value) extra[key] = *value;
  };
  switch (rope.kind) {
    case common::RotaryKind::kYarn:
      extra["beta_fast"] = rope.beta_fast;
      extra["beta_slow"] = rope.beta_slow;
      put("mscale", rope.mscale);
      put("mscale_all_dim", rope.mscale_all_dim);
      put("attention_factor", rope.attention_factor);
      if (!rope.truncate) extra["truncate"] = false;
      break;
    case common::RotaryKind::kLlama3:
      extra["low_freq_factor"] = rope.low_freq_factor;
      extra["high_freq_factor"] = rope.high_freq_factor;
      break;
    case common::RotaryKind::kLongRope:
      extra["short_factor"] = rope.short_factor;
      extra["long_factor"] = rope.long_factor;
      // Readers without a key for it would compute it from these two.
      if (rope.attention_factor || rope.factor != stretch) {
        extra["attention_factor"] = common::AttentionFactor(rope);
      }
      break;
    default:
      break;
  }
  return extra;
}

// The scaling the model was trained with. It serves rows of the training length; a longer limit of
// the base model stands.
HuggingFaceRope TrainedRope(const TrainingJob& job) {
  const common::ModelConfig& config = job.model->config();
  const common::RotaryConfig& rope = job.model->options().rope;
  HuggingFaceRope written;
  written.type = std::string(common::RotaryKindName(rope.kind));
  written.theta = rope.theta;
  written.factor = rope.factor;
  written.partial_factor = rope.partial_factor;
  written.max_position_embeddings = config.max_position_embeddings;
  // longrope and dynamic compute with this number: it has to stay what it was.
  if (rope.kind != common::RotaryKind::kLongRope && rope.kind != common::RotaryKind::kDynamic) {
    written.max_position_embeddings =
        std::max(config.max_position_embeddings, job.spec().max_sequence_length);
  }
  if (rope.kind != common::RotaryKind::kDefault && rope.kind != common::RotaryKind::kDynamic) {
    written.original_max_position_embeddings = rope.kind == common::RotaryKind::kLinear
                                                   ? config.original_max_position_embeddings
                                                   : rope.original_length;
  }
  written.extra = KindParameters(config, rope);
  return written;
}

// Last names of the modules that have adapters: what all-linear stood for, too.
std::vector<std::string> TargetModules(const TrainingJob& job) {
  std::vector<std::string> names;
  for (const auto& module : job.lora) {
    std::string name = LastName(module->module_name());
    if (std::find(names.begin(), names.end(), name) == names.end()) {
      names.push_back(std::move(name));
    }
  }
  return names;
}

}  // namespace

AdapterExport DescribeAdapter(const TrainingJob& job, const TensorMap& trained) {
  const common::LoraSpec& lora = job.spec().method.lora;
  AdapterExport adapter;
  adapter.weights = Weights(job, trained);
  adapter.rank = lora.rank;
  adapter.alpha = lora.alpha;
  adapter.dropout = lora.dropout;
  adapter.use_rslora = lora.use_rslora;
  adapter.target_modules = TargetModules(job);
  adapter.tie_word_embeddings = job.model->config().tie_word_embeddings;
  adapter.rope = TrainedRope(job);
  adapter.card = DescribeJob(job);
  const std::string log = absl::StrCat(job.options.output_directory, "/", kTensorBoardFile);
  std::error_code no_log;
  const auto bytes = std::filesystem::file_size(log, no_log);
  if (!no_log) {
    adapter.attachments.push_back({kTensorBoardFile, log, static_cast<int64_t>(bytes)});
  }
  return adapter;
}

absl::Status WriteAdapter(const TrainingJob& job, const std::string& directory) {
  return BlameInput(ExportAdapter(DescribeAdapter(job, TrainedTensors(job)), directory),
                    "EXPORT_INVALID");
}

absl::Status WriteMerged(const TrainingJob& job, const std::string& directory) {
  const common::LoraSpec& lora = job.spec().method.lora;
  MergedExport merged;
  merged.base_directory = job.base_directory;
  merged.weights = Weights(job, TrainedTensors(job));
  merged.scale = LoraScale(lora.rank, lora.alpha, lora.use_rslora);
  merged.tie_word_embeddings = job.model->config().tie_word_embeddings;
  merged.rope = TrainedRope(job);
  merged.card = DescribeJob(job);
  return BlameInput(ExportMerged(merged, directory), "EXPORT_INVALID");
}

}  // namespace longlora::trainer
