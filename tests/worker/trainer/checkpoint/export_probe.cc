// The C++ side of adapter_test.py.
//   trainer_export_probe export FACTS.json   writes an adapter and a merged model from a file of
//   weights trainer_export_probe import FACTS.json   reads an adapter and writes what it took to a
//   file of weights
// FACTS: {base, weights, adapter, merged, rank, alpha, tied, factor, length}. The file of weights
// holds "lora/MODULE/a", "lora/MODULE/b" and "trained/PARAMETER".
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>
#include <string>

#include "absl/strings/match.h"
#include "common/status/status_macros.h"
#include "worker/trainer/checkpoint/adapter_export.h"
#include "worker/trainer/checkpoint/adapter_import.h"
#include "worker/trainer/checkpoint/merged_export.h"
#include "worker/trainer/torch.h"

namespace longlora::trainer {
namespace {

using Json = nlohmann::json;

absl::StatusOr<LoraWeights> ReadWeights(const std::string& path) {
  LONGLORA_ASSIGN_OR_RETURN(const SafetensorsFile file, SafetensorsFile::Open(path));
  LoraWeights weights;
  for (const auto& [name, entry] : file.entries()) {
    LONGLORA_ASSIGN_OR_RETURN(const at::Tensor tensor, file.Get(name));
    if (absl::StartsWith(name, "trained/")) {
      weights.trained[name.substr(8)] = tensor;
      continue;
    }
    LoraPair& pair = weights.lora[name.substr(5, name.size() - 7)];
    (absl::EndsWith(name, "/a") ? pair.a : pair.b) = tensor;
  }
  return weights;
}

absl::Status Export(const Json& facts) {
  AdapterExport adapter;
  LONGLORA_ASSIGN_OR_RETURN(adapter.weights, ReadWeights(facts["weights"]));
  adapter.rank = facts["rank"];
  adapter.alpha = facts["alpha"];
  adapter.target_modules = {"q_proj", "k_proj", "v_proj", "o_proj"};
  adapter.card.base_model = facts["base"];
  adapter.tie_word_embeddings = facts["tied"];
  adapter.rope = {.type = "linear",
                  .theta = 10000.0,
                  .factor = facts["factor"],
                  .max_position_embeddings = facts["length"],
                  .original_max_position_embeddings = 256};
  LONGLORA_RETURN_IF_ERROR(ExportAdapter(adapter, facts["adapter"]));
  MergedExport merged;
  merged.base_directory = facts["base"];
  merged.weights = adapter.weights;
  merged.scale = adapter.alpha / static_cast<double>(adapter.rank);
  merged.tie_word_embeddings = adapter.tie_word_embeddings;
  merged.rope = adapter.rope;
  merged.shard_bytes_max = 200'000;
  return ExportMerged(merged, facts["merged"]);
}

absl::Status Import(const Json& facts) {
  AdapterShape shape;
  LONGLORA_ASSIGN_OR_RETURN(const LoraWeights expected, ReadWeights(facts["weights"]));
  for (const auto& [module, pair] : expected.lora) {
    shape.lora[module] = {.in_features = pair.a.size(1), .out_features = pair.b.size(0)};
  }
  for (const auto& [name, tensor] : expected.trained) shape.trained[name] = tensor.sizes().vec();
  shape.rank = facts["rank"];
  shape.alpha = facts["alpha"];
  shape.tie_word_embeddings = facts["tied"];
  LONGLORA_ASSIGN_OR_RETURN(const ImportedAdapter imported, ImportAdapter(facts["adapter"], shape));
  TensorMap tensors;
  for (const auto& [module, pair] : imported.weights.lora) {
    tensors["lora/" + module + "/a"] = pair.a;
    tensors["lora/" + module + "/b"] = pair.b;
  }
  for (const auto& [name, tensor] : imported.weights.trained) tensors["trained/" + name] = tensor;
  return WriteSafetensors(facts["imported"].get<std::string>(), tensors, {});
}

}  // namespace
}  // namespace longlora::trainer

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  std::ifstream file(argv[2]);
  const nlohmann::json facts = nlohmann::json::parse(file);
  const absl::Status status = std::string(argv[1]) == "export" ? longlora::trainer::Export(facts)
                                                               : longlora::trainer::Import(facts);
  if (!status.ok()) std::cerr << status << "\n";
  return status.ok() ? 0 : 1;
}
