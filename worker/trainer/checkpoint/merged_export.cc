#include "worker/trainer/checkpoint/merged_export.h"

#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/io/files.h"
#include "common/status/annotate.h"
#include "common/status/status_macros.h"
#include "worker/trainer/checkpoint/adapter_names.h"
#include "worker/trainer/checkpoint/staged_directory.h"
#include "worker/trainer/torch.h"

namespace longlora::trainer {
namespace {

using Json = nlohmann::ordered_json;

constexpr char kHeadWeight[] = "lm_head.weight";
constexpr int64_t kCopiedBytesMax = int64_t{1} << 30;

// What makes a Hugging Face directory complete besides config.json and the weights.
constexpr const char* kCopiedFiles[] = {"tokenizer.json",
                                        "tokenizer_config.json",
                                        "special_tokens_map.json",
                                        "tokenizer.model",
                                        "vocab.json",
                                        "merges.txt",
                                        "added_tokens.json",
                                        "chat_template.jinja",
                                        "chat_template.json",
                                        "generation_config.json"};

absl::Status CopyTexts(const MergedExport& merged, const std::string& directory) {
  const std::string config_path = absl::StrCat(merged.base_directory, "/config.json");
  LONGLORA_ASSIGN_OR_RETURN(const std::string text, common::ReadFile(config_path, kCopiedBytesMax));
  Json config = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!config.is_object()) {
    return absl::InvalidArgumentError(absl::StrCat(config_path, ": not a JSON object"));
  }
  ApplyRope(merged.rope, config);
  LONGLORA_RETURN_IF_ERROR(
      common::AtomicWriteFile(absl::StrCat(directory, "/config.json"), config.dump(2) + "\n"));
  LONGLORA_RETURN_IF_ERROR(
      common::AtomicWriteFile(absl::StrCat(directory, "/README.md"), MergedCard(merged.card)));
  for (const char* name : kCopiedFiles) {
    const auto content =
        common::ReadFile(absl::StrCat(merged.base_directory, "/", name), kCopiedBytesMax);
    if (absl::IsNotFound(content.status())) continue;
    LONGLORA_RETURN_IF_ERROR(content.status());
    LONGLORA_RETURN_IF_ERROR(common::AtomicWriteFile(absl::StrCat(directory, "/", name), *content));
  }
  return absl::OkStatus();
}

// Which trained weight replaces the base tensor `name`; null: none.
const at::Tensor* TrainedFor(const MergedExport& merged, const std::string& name) {
  const auto found = merged.weights.trained.find(name);
  if (found != merged.weights.trained.end()) return &found->second;
  if (name != kHeadWeight || !merged.tie_word_embeddings) return nullptr;
  // Some files list the tied head beside the embedding.
  for (const auto& [trained, tensor] : merged.weights.trained) {
    if (LastName(ModuleOf(trained)) == kEmbeddingModule) return &tensor;
  }
  return nullptr;
}

absl::StatusOr<at::Tensor> MergeTensor(const MergedExport& merged, const std::string& name,
                                       const at::Tensor& base) {
  if (const at::Tensor* trained = TrainedFor(merged, name)) {
    if (trained->sizes() != base.sizes()) {
      return absl::InvalidArgumentError(
          absl::StrCat("the trained \"", name, "\" has another shape than the base's"));
    }
    return trained->detach().cpu().to(base.scalar_type());
  }
  const auto pair = merged.weights.lora.find(ModuleOf(name));
  if (pair == merged.weights.lora.end() || name != pair->first + ".weight") return base;
  const at::Tensor a = pair->second.a.detach().cpu().to(at::kFloat);
  const at::Tensor b = pair->second.b.detach().cpu().to(at::kFloat);
  if (base.dim() != 2 || a.dim() != 2 || b.dim() != 2 || a.size(0) != b.size(1) ||
      a.size(1) != base.size(1) || b.size(0) != base.size(0)) {
    return absl::InvalidArgumentError(
        absl::StrCat("LoRA of \"", pair->first, "\" does not fit its weight"));
  }
  return at::addmm(base.to(at::kFloat), b, a, 1, merged.scale).to(base.scalar_type());
}

// Every trained thing must have its place in the base, or it would be lost silently.
absl::Status CheckPlaces(const MergedExport& merged, const SafetensorsDirectory& base) {
  for (const auto& [module, pair] : merged.weights.lora) {
    if (!base.Contains(module + ".weight")) {
      return absl::InvalidArgumentError(
          absl::StrCat("the base model has no \"", module, ".weight\" to merge into"));
    }
  }
  for (const auto& [name, tensor] : merged.weights.trained) {
    if (!base.Contains(name)) {
      return absl::InvalidArgumentError(
          absl::StrCat("the base model has no \"", name, "\" to replace"));
    }
  }
  return absl::OkStatus();
}

struct Shard {
  std::vector<std::string> names;
  int64_t bytes = 0;
};

absl::StatusOr<std::vector<Shard>> PlanShards(const SafetensorsDirectory& base, int64_t bytes_max) {
  std::vector<Shard> shards(1);
  for (const std::string& name : base.names()) {
    LONGLORA_ASSIGN_OR_RETURN(const SafetensorsEntry entry, base.Find(name));
    const int64_t bytes = entry.end - entry.begin;
    if (!shards.back().names.empty() && shards.back().bytes + bytes > bytes_max)
      shards.emplace_back();
    shards.back().names.push_back(name);
    shards.back().bytes += bytes;
  }
  return shards;
}

absl::Status WriteShard(const MergedExport& merged, const SafetensorsDirectory& base,
                        const Shard& shard, const std::string& path) {
  std::vector<TensorSource> sources;
  for (const std::string& name : shard.names) {
    LONGLORA_ASSIGN_OR_RETURN(const at::Tensor announced, base.Get(name));
    // Read when its turn comes and let go after it: the base is never in memory as a whole.
    const auto merge = [&merged, &base, name]() -> absl::StatusOr<at::Tensor> {
      LONGLORA_ASSIGN_OR_RETURN(const at::Tensor view, base.Get(name));
      return MergeTensor(merged, name, view);
    };
    sources.push_back({name, announced.scalar_type(), announced.sizes().vec(), merge});
  }
  LONGLORA_RETURN_IF_ERROR(WriteSafetensors(path, sources, {{"format", "pt"}}));
  return VerifySafetensors(path, shard.names);
}

}  // namespace

absl::Status ExportMerged(const MergedExport& merged, const std::string& directory) {
  LONGLORA_ASSIGN_OR_RETURN(const SafetensorsDirectory base,
                            SafetensorsDirectory::Open(merged.base_directory));
  LONGLORA_RETURN_IF_ERROR(CheckPlaces(merged, base));
  LONGLORA_ASSIGN_OR_RETURN(const std::vector<Shard> shards,
                            PlanShards(base, merged.shard_bytes_max));
  LONGLORA_ASSIGN_OR_RETURN(StagedDirectory staged, StagedDirectory::Create(directory));
  LONGLORA_RETURN_IF_ERROR(CopyTexts(merged, staged.path()));
  Json weight_map = Json::object();
  for (size_t i = 0; i < shards.size(); ++i) {
    const std::string file = shards.size() == 1 ? std::string("model.safetensors")
                                                : absl::StrFormat("model-%05d-of-%05d.safetensors",
                                                                  i + 1, shards.size());
    LONGLORA_RETURN_IF_ERROR(
        WriteShard(merged, base, shards[i], absl::StrCat(staged.path(), "/", file)));
    for (const std::string& name : shards[i].names) weight_map[name] = file;
  }
  if (shards.size() > 1) {
    const Json index = {{"metadata", {{"total_size", base.total_bytes()}}},
                        {"weight_map", weight_map}};
    LONGLORA_RETURN_IF_ERROR(common::AtomicWriteFile(
        absl::StrCat(staged.path(), "/model.safetensors.index.json"), index.dump(2) + "\n"));
  }
  return staged.Commit();
}

}  // namespace longlora::trainer
