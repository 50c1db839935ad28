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
          {"base_model_name_or_path", adapter.base_model},
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

// What a user has to change in the base model's config before loading: PEFT has no field for it.
Json RopeNote(const HuggingFaceRope& rope) {
  // transformers warns of the original length beside a linear scaling: here it stands apart.
  HuggingFaceRope loaded = rope;
  if (rope.type == "linear") loaded.original_max_position_embeddings = 0;
  Json note = {{"rope_parameters", RopeParameters(loaded)},
               {"rope_scaling", RopeScaling(loaded)},
               {"max_position_embeddings", rope.max_position_embeddings}};
  if (rope.original_max_position_embeddings > 0) {
    note["original_max_position_embeddings"] = rope.original_max_position_embeddings;
  }
  return note;
}

std::string ModelCard(const AdapterExport& adapter) {
  const std::string base = Json(adapter.base_model).dump();
  std::string card =
      absl::StrCat("---\nbase_model: ", base,
                   "\nlibrary_name: peft\ntags:\n- lora\n- longlora\n- long-context\n---\n\n"
                   "# LongLoRA adapter\n\n"
                   "LoRA weights, and the embedding and norms where they were trained, for ",
                   base, ".\n\n| | |\n|---|---|\n");
  absl::StrAppend(&card, "| LoRA rank, alpha | ", adapter.rank, ", ", adapter.alpha, " |\n");
  absl::StrAppend(&card, "| Context length | ", adapter.rope.max_position_embeddings, " |\n");
  for (const auto& [key, value] : adapter.facts)
    absl::StrAppend(&card, "| ", key, " | ", value, " |\n");
  absl::StrAppend(
      &card,
      "\n## Loading\n\nThe adapter was trained with the RoPE scaling below, which a PEFT adapter "
      "cannot "
      "carry. The base model must be loaded with it (also in `rope_scaling.json`):\n\n"
      "```python\n"
      "import json\n"
      "from transformers import AutoConfig, AutoModelForCausalLM\n"
      "from peft import PeftModel\n\n"
      "adapter = \"...\"  # this folder\n"
      "rope = json.load(open(adapter + \"/rope_scaling.json\"))\n"
      "config = AutoConfig.from_pretrained(",
      base,
      ")\n"
      "config.rope_parameters = rope[\"rope_parameters\"]  # transformers 4: config.rope_scaling = "
      "rope[\"rope_scaling\"]\n"
      "config.max_position_embeddings = rope[\"max_position_embeddings\"]\n"
      "model = AutoModelForCausalLM.from_pretrained(",
      base,
      ", config=config)\n"
      "model = PeftModel.from_pretrained(model, adapter)\n"
      "```\n\n```json\n",
      RopeNote(adapter.rope).dump(2), "\n```\n");
  return card;
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
      {"README.md", ModelCard(adapter)}};
  for (const auto& [name, text] : texts) {
    LONGLORA_RETURN_IF_ERROR(common::AtomicWriteFile(absl::StrCat(staged.path(), "/", name), text));
  }
  for (const Attachment& attachment : adapter.attachments) {
    LONGLORA_RETURN_IF_ERROR(Attach(attachment, staged.path()));
  }
  return staged.Commit();
}

}  // namespace longlora::trainer
