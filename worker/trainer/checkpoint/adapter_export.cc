#include "worker/trainer/checkpoint/adapter_export.h"

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/io/files.h"
#include "common/status/status_macros.h"
#include "worker/trainer/checkpoint/adapter_names.h"
#include "worker/trainer/checkpoint/staged_directory.h"

namespace longlora::trainer {
namespace {

constexpr int64_t kMaxAttachmentBytes = int64_t{1} << 30;

using Json = nlohmann::ordered_json;

std::string EmbeddingOf(const LoraWeights& weights) {
  for (const auto& [name, tensor] : weights.trained) {
    if (LastName(ModuleOf(name)) == kEmbeddingModule) return name;
  }
  return "";
}

TensorMap AdapterTensors(const AdapterExport& adapter) {
  TensorMap tensors;
  for (const auto& [module, pair] : adapter.weights.lora) {
    tensors[absl::StrCat(kAdapterPrefix, module, kLoraASuffix)] = pair.a;
    tensors[absl::StrCat(kAdapterPrefix, module, kLoraBSuffix)] = pair.b;
  }
  for (const auto& [name, tensor] : adapter.weights.trained) tensors[AdapterKey(name)] = tensor;
  // peft breaks the tie when it wraps the embedding: without a copy of its own the loaded head
  // would keep the base model's weights.
  const std::string embedding = EmbeddingOf(adapter.weights);
  if (adapter.tie_word_embeddings && !embedding.empty()) {
    tensors[AdapterKey(absl::StrCat(kHeadModule, ".weight"))] =
        adapter.weights.trained.at(embedding);
  }
  return tensors;
}

Json AdapterConfig(const AdapterExport& adapter) {
  std::set<std::string> modules;
  for (const auto& [name, tensor] : adapter.weights.trained)
    modules.insert(LastName(ModuleOf(name)));
  if (adapter.tie_word_embeddings && !EmbeddingOf(adapter.weights).empty()) {
    modules.insert(std::string(kHeadModule));
  }
  return {{"peft_type", "LORA"},
          {"task_type", "CAUSAL_LM"},
          {"base_model_name_or_path", adapter.card.base_model},
          {"r", adapter.rank},
          {"lora_alpha", adapter.alpha},
          {"lora_dropout", adapter.dropout},
          {"target_modules", adapter.target_modules},
          {"modules_to_save", modules.empty() ? Json(nullptr) : Json(modules)},
          {"bias", "none"},
          {"use_rslora", adapter.use_rslora},
          {"use_dora", false},
          {"rank_pattern", Json::object()},
          {"alpha_pattern", Json::object()},
          {"fan_in_fan_out", false},
          {"init_lora_weights", true},
          {"inference_mode", true}};
}

absl::Status Attach(const Attachment& attachment, const std::string& directory) {
  const std::string target = absl::StrCat(directory, "/", attachment.name);
  LONGLORA_RETURN_IF_ERROR(
      common::CreateDirectories(std::filesystem::path(target).parent_path().string()));
  LONGLORA_ASSIGN_OR_RETURN(std::string content,
                            common::ReadFile(attachment.source, kMaxAttachmentBytes));
  content.resize(std::min(content.size(), static_cast<size_t>(attachment.bytes)));
  return common::AtomicWriteFile(target, content);
}

}  // namespace

absl::Status ExportAdapter(const AdapterExport& adapter, const std::string& directory) {
  const TensorMap tensors = AdapterTensors(adapter);
  LONGLORA_ASSIGN_OR_RETURN(StagedDirectory staged, StagedDirectory::Create(directory));
  const std::string tensors_path = absl::StrCat(staged.path(), "/", kAdapterTensorsName);
  LONGLORA_RETURN_IF_ERROR(WriteSafetensors(tensors_path, tensors, {{"format", "pt"}}));
  std::vector<std::string> names;
  for (const auto& [name, tensor] : tensors) names.push_back(name);
  LONGLORA_RETURN_IF_ERROR(VerifySafetensors(tensors_path, names));
  const std::pair<std::string, std::string> texts[] = {
      {kAdapterConfigName, AdapterConfig(adapter).dump(2) + "\n"},
      {"rope_scaling.json", RopeNote(adapter.rope).dump(2) + "\n"},
      {"README.md", AdapterCard(adapter.card, adapter.rope)}};
  for (const auto& [name, text] : texts) {
    LONGLORA_RETURN_IF_ERROR(common::AtomicWriteFile(absl::StrCat(staged.path(), "/", name), text));
  }
  for (const Attachment& attachment : adapter.attachments) {
    LONGLORA_RETURN_IF_ERROR(Attach(attachment, staged.path()));
  }
  return staged.Commit();
}

}  // namespace longlora::trainer
