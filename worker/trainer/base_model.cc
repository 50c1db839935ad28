#include "worker/trainer/base_model.h"

#include <algorithm>
#include <filesystem>
#include <map>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/io/files.h"
#include "common/status/annotate.h"
#include "common/status/status_macros.h"
#include "worker/trainer/checkpoint/adapter_import.h"
#include "worker/trainer/checkpoint/safetensors.h"
#include "worker/trainer/failure.h"
#include "worker/trainer/model/job_rope.h"
#include "worker/trainer/optimizer/parameter_groups.h"

namespace longlora::trainer {
namespace {

bool IsTrainable(const common::TrainSpec& spec, const char* what) {
  const std::vector<std::string>& names = spec.method.trainable;
  return std::find(names.begin(), names.end(), what) != names.end();
}

// What the model computes in. fp32 holds every bf16 weight exactly, so going without bf16 products
// costs memory, not exactness.
torch::ScalarType ComputeType(TrainingJob& job) {
  if (job.spec().training.precision == common::Precision::kFp32) return torch::kFloat32;
  if (job.backend->HasBf16()) return torch::kBFloat16;
  job.warnings.push_back(
      "training.precision is bf16 and this processor has no bf16 arithmetic: the model is held and "
      "computed in fp32, which takes twice the memory and loses no precision");
  return torch::kFloat32;
}

absl::Status ReadModel(TrainingJob& job) {
  const common::TrainSpec& spec = job.spec();
  LONGLORA_ASSIGN_OR_RETURN(job.base_directory,
                            FindBaseModel(spec.base_model, job.options.model_directory));
  LONGLORA_ASSIGN_OR_RETURN(const common::ModelConfig config,
                            common::ReadModelConfig(job.base_directory));
  LONGLORA_RETURN_IF_ERROR(
      BlameInput(common::CheckWindowCovers(config, spec.max_sequence_length), "INVALID_SPEC"));
  const absl::StatusOr<JobRotary> rotary =
      JobRope(config, spec.method.rope_scaling, spec.max_sequence_length);
  if (!rotary.ok()) return BlameInput(rotary.status(), "INVALID_SPEC");
  if (!rotary->warning.empty()) job.warnings.push_back(rotary->warning);
  const ModelOptions options = {.dtype = ComputeType(job),
                                .device = job.device(),
                                .rope = rotary->rope,
                                .train_embedding = IsTrainable(spec, "embed"),
                                .train_norms = IsTrainable(spec, "norm")};
  LONGLORA_ASSIGN_OR_RETURN(job.model, ReadModelFiles(job.base_directory, config, options));
  return absl::OkStatus();
}

absl::Status CopyInitialAdapter(TrainingJob& job) {
  LONGLORA_ASSIGN_OR_RETURN(const std::vector<std::string> left_to_base,
                            LoadAdapter(job.spec().method.initial_adapter, job));
  if (!left_to_base.empty()) {
    job.warnings.push_back(absl::StrCat("method.initial_adapter does not hold ",
                                        absl::StrJoin(left_to_base, ", "),
                                        ": training of these starts from the base model"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<LlamaModel>> ReadModelFiles(const std::string& directory,
                                                           const common::ModelConfig& config,
                                                           const ModelOptions& options) {
  LONGLORA_ASSIGN_OR_RETURN(const SafetensorsDirectory files,
                            SafetensorsDirectory::Open(directory));
  std::map<std::string, torch::Tensor> weights;
  for (const std::string& name : files.names()) {
    LONGLORA_ASSIGN_OR_RETURN(weights[name], files.Get(name));
  }
  auto model = LlamaModel::Create(config, std::move(weights), options);
  if (!model.ok()) return common::Annotate(model.status(), directory);
  return model;
}

absl::StatusOr<std::vector<std::string>> LoadAdapter(const std::string& directory,
                                                     TrainingJob& job) {
  const common::LoraSpec& lora = job.spec().method.lora;
  AdapterShape shape;
  shape.rank = lora.rank;
  shape.alpha = lora.alpha;
  shape.use_rslora = lora.use_rslora;
  shape.tie_word_embeddings = job.model->config().tie_word_embeddings;
  for (const auto& module : job.lora) {
    shape.lora[module->module_name()] = {.in_features = module->a().size(1),
                                         .out_features = module->b().size(0)};
  }
  for (const Parameter& parameter : job.model->trained_parameters()) {
    shape.trained[parameter.name] = parameter.value.sizes().vec();
  }
  LONGLORA_ASSIGN_OR_RETURN(const ImportedAdapter imported, ImportAdapter(directory, shape));
  torch::NoGradGuard no_grad;
  for (const auto& module : job.lora) {
    const LoraPair& pair = imported.weights.lora.at(module->module_name());
    torch::Tensor(module->a()).copy_(pair.a);
    torch::Tensor(module->b()).copy_(pair.b);
  }
  for (Parameter& parameter : job.model->trained_parameters()) {
    const auto found = imported.weights.trained.find(parameter.name);
    if (found != imported.weights.trained.end()) parameter.value.copy_(found->second);
  }
  return imported.left_to_base;
}

absl::StatusOr<std::string> FindBaseModel(const std::string& base_model,
                                          const std::string& model_directory) {
  std::error_code error;
  std::string path = absl::StrCat(model_directory, "/", base_model);
  if (!model_directory.empty() && common::IsSafeRelativePath(base_model) &&
      std::filesystem::is_directory(path, error)) {
    return path;
  }
  if (std::filesystem::is_directory(base_model, error)) return base_model;
  if (model_directory.empty()) {
    return absl::NotFoundError(absl::StrCat("base_model: there is no directory ", base_model,
                                            "; give its path, or --model-dir and a name in it"));
  }
  return absl::NotFoundError(absl::StrCat("base_model: there is neither a model named ", base_model,
                                          " in ", model_directory,
                                          " nor a directory of that path"));
}

absl::Status LoadBaseModel(TrainingJob& job) { return BlameInput(ReadModel(job), "MODEL_INVALID"); }

absl::Status AddTrainedParameters(TrainingJob& job) {
  const common::TrainSpec& spec = job.spec();
  const LoraOptions options = {.rank = spec.method.lora.rank,
                               .alpha = spec.method.lora.alpha,
                               .target_modules = spec.method.lora.target_modules,
                               .seed = spec.training.seed,
                               .use_rslora = spec.method.lora.use_rslora,
                               .dropout = spec.method.lora.dropout};
  auto modules = InjectLora(*job.model, options);
  if (!modules.ok()) return BlameInput(modules.status(), "INVALID_SPEC");
  job.lora = *std::move(modules);
  job.dropout = AddDropout(job.lora, options);
  if (!spec.method.initial_adapter.empty()) {
    const absl::Status copied = CopyInitialAdapter(job);
    if (!copied.ok()) {
      return BlameInput(common::Annotate(copied, "method.initial_adapter"), "ADAPTER_INVALID");
    }
  }
  job.trained = TrainedParameters(*job.model, job.lora);
  std::vector<torch::Tensor> values;
  std::vector<double> rate_factors;
  for (const Parameter& parameter : job.trained) {
    values.push_back(parameter.value);
    rate_factors.push_back(RateFactor(parameter.name, spec.optimizer));
  }
  job.optimizer = std::make_unique<AdamW>(std::move(values), spec.optimizer, rate_factors);
  return absl::OkStatus();
}

}  // namespace longlora::trainer
