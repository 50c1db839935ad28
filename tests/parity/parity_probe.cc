// Runs one optimizer step's forward and backward with the trainer's own libraries and dumps what
// the product does not show: logits, every gradient, and tokens decoded. Started by parity_test.py;
// not shipped.
//   trainer_parity_probe MODEL_DIR SPEC.json ADAPTER_DIR ROWS.safetensors OUT.safetensors
// ADAPTER_DIR "-": no adapter, and the forward pass alone.
// ROWS: row.N.{input_ids,labels,position_ids} [1, T] and row.N.document_starts [D], int64.
// OUT: row.N.logits [1, T, V], row.N.decoded [6] int64 (what follows the first half of the row),
// loss [1], grad.<name>.
#include <iostream>
#include <map>
#include <string>

#include "absl/strings/str_cat.h"
#include "common/io/files.h"
#include "common/status/status_macros.h"
#include "common/trainer_protocol/spec_codec.h"
#include "common/trainer_protocol/spec_rules.h"
#include "worker/trainer/checkpoint/safetensors.h"
#include "worker/trainer/lora/lora.h"
#include "worker/trainer/loss/chunked_cross_entropy.h"
#include "worker/trainer/model/greedy_decode.h"
#include "worker/trainer/model/job_rope.h"
#include "worker/trainer/model/llama_model.h"
#include "worker/trainer/torch.h"

namespace longlora::trainer {
namespace {

bool Trains(const common::TrainSpec& spec, const std::string& what) {
  for (const std::string& name : spec.method.trainable) {
    if (name == what) return true;
  }
  return false;
}

absl::StatusOr<std::unique_ptr<LlamaModel>> LoadModel(const std::string& directory,
                                                      const common::TrainSpec& spec) {
  LONGLORA_ASSIGN_OR_RETURN(const common::ModelConfig config, common::ReadModelConfig(directory));
  LONGLORA_ASSIGN_OR_RETURN(const SafetensorsDirectory files,
                            SafetensorsDirectory::Open(directory));
  std::map<std::string, torch::Tensor> weights;
  for (const std::string& name : files.names()) {
    LONGLORA_ASSIGN_OR_RETURN(weights[name], files.Get(name));
  }
  ModelOptions options;
  options.dtype =
      spec.training.precision == common::Precision::kBf16 ? torch::kBFloat16 : torch::kFloat32;
  LONGLORA_ASSIGN_OR_RETURN(const JobRotary rotary,
                            JobRope(config, spec.method.rope_scaling, spec.max_sequence_length));
  options.rope = rotary.rope;
  options.train_embedding = Trains(spec, "embed");
  options.train_norms = Trains(spec, "norm");
  return LlamaModel::Create(config, weights, options);
}

absl::StatusOr<std::vector<std::shared_ptr<LoraModule>>> AddAdapter(const std::string& directory,
                                                                    const common::TrainSpec& spec,
                                                                    LlamaModel& model) {
  const common::LoraSpec& lora = spec.method.lora;
  LONGLORA_ASSIGN_OR_RETURN(auto modules, InjectLora(model, {.rank = lora.rank,
                                                             .alpha = lora.alpha,
                                                             .target_modules = lora.target_modules,
                                                             .seed = spec.training.seed}));
  LONGLORA_ASSIGN_OR_RETURN(const SafetensorsFile file,
                            SafetensorsFile::Open(directory + "/adapter_model.safetensors"));
  const torch::NoGradGuard no_grad;
  for (const auto& module : modules) {
    const std::string prefix = absl::StrCat("base_model.model.", module->module_name());
    LONGLORA_ASSIGN_OR_RETURN(const torch::Tensor a, file.Get(prefix + ".lora_A.weight"));
    LONGLORA_ASSIGN_OR_RETURN(const torch::Tensor b, file.Get(prefix + ".lora_B.weight"));
    module->a().copy_(a);
    module->b().copy_(b);
  }
  return modules;
}

struct ProbeRow {
  ModelInput input;
  torch::Tensor labels;
};

absl::StatusOr<std::vector<ProbeRow>> ReadRows(const std::string& path,
                                               const common::TrainSpec& spec) {
  LONGLORA_ASSIGN_OR_RETURN(const SafetensorsFile file, SafetensorsFile::Open(path));
  std::vector<ProbeRow> rows;
  while (file.entries().count(absl::StrCat("row.", rows.size(), ".input_ids")) != 0) {
    const std::string prefix = absl::StrCat("row.", rows.size(), ".");
    ProbeRow row;
    LONGLORA_ASSIGN_OR_RETURN(row.input.input_ids, file.Get(prefix + "input_ids"));
    LONGLORA_ASSIGN_OR_RETURN(row.input.position_ids, file.Get(prefix + "position_ids"));
    LONGLORA_ASSIGN_OR_RETURN(row.labels, file.Get(prefix + "labels"));
    LONGLORA_ASSIGN_OR_RETURN(const torch::Tensor starts, file.Get(prefix + "document_starts"));
    const Borders documents =
        DocumentBorders({starts.data_ptr<int64_t>(), starts.data_ptr<int64_t>() + starts.numel()},
                        row.input.input_ids.size(1));
    row.input.segments = {spec.method.attention.pattern == common::AttentionPattern::kDense
                              ? DenseSegments(documents)
                              : ShiftedSparseSegments(documents, common::GroupSize(spec))};
    rows.push_back(std::move(row));
  }
  return rows;
}

torch::Tensor DecodeAfterHalf(const LlamaModel& model, const torch::Tensor& row_ids) {
  constexpr int64_t kDecoded = 6;
  const auto* ids = row_ids.const_data_ptr<int64_t>();
  return torch::tensor(GreedyDecode(model, {ids, ids + (row_ids.numel() + 1) / 2}, kDecoded));
}

absl::Status Probe(const std::string& model_directory, const std::string& spec_path,
                   const std::string& adapter_directory, const std::string& rows_path,
                   const std::string& out_path) {
  LONGLORA_ASSIGN_OR_RETURN(const std::string text, common::ReadFile(spec_path, 1 << 20));
  LONGLORA_ASSIGN_OR_RETURN(const common::TrainSpec spec, common::ParseTrainSpec(text));
  LONGLORA_ASSIGN_OR_RETURN(const std::unique_ptr<LlamaModel> model,
                            LoadModel(model_directory, spec));
  const bool backward = adapter_directory != "-";
  std::vector<std::shared_ptr<LoraModule>> modules;
  if (backward) {
    LONGLORA_ASSIGN_OR_RETURN(modules, AddAdapter(adapter_directory, spec, *model));
  }
  const torch::AutoGradMode grad_mode(backward);
  LONGLORA_ASSIGN_OR_RETURN(const std::vector<ProbeRow> rows, ReadRows(rows_path, spec));

  constexpr int64_t kChunk = 16;  // several chunks a row
  int64_t targets = 0;
  for (const ProbeRow& row : rows) targets += CountTargets(row.labels);
  TensorMap out;
  torch::Tensor loss = torch::zeros({1});
  for (size_t i = 0; i < rows.size(); ++i) {
    const torch::Tensor hidden = model->Forward(rows[i].input, /*checkpoint_activations=*/true);
    const LossSum sum = ChunkedCrossEntropy(hidden, model->lm_head(), rows[i].labels, kChunk);
    if (backward) (sum.sum / static_cast<double>(targets)).backward();
    loss += sum.sum.detach() / static_cast<double>(targets);
    out[absl::StrCat("row.", i, ".logits")] =
        hidden.detach().matmul(model->lm_head().detach().to(hidden.scalar_type()).t());
    out[absl::StrCat("row.", i, ".decoded")] = DecodeAfterHalf(*model, rows[i].input.input_ids);
  }
  out["loss"] = loss;
  for (const Parameter& parameter : TrainedParameters(*model, modules)) {
    out["grad." + parameter.name] = parameter.value.grad();
  }
  return WriteSafetensors(out_path, out, {});
}

}  // namespace
}  // namespace longlora::trainer

int main(int argc, char** argv) {
  if (argc != 6) {
    std::cerr << "usage: " << argv[0] << " MODEL_DIR SPEC.json ADAPTER_DIR ROWS.safetensors OUT\n";
    return 2;
  }
  const absl::Status status = longlora::trainer::Probe(argv[1], argv[2], argv[3], argv[4], argv[5]);
  if (!status.ok()) std::cerr << status << "\n";
  return status.ok() ? 0 : 1;
}
