// How PEFT names the tensors and modules of an adapter (as peft 0.21 reads and writes them). Pure
// functions, shared by export and import.
#ifndef LONGLORA_WORKER_TRAINER_CHECKPOINT_ADAPTER_NAMES_H_
#define LONGLORA_WORKER_TRAINER_CHECKPOINT_ADAPTER_NAMES_H_

#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace longlora::trainer {

inline constexpr absl::string_view kAdapterPrefix = "base_model.model.";
inline constexpr absl::string_view kLoraASuffix = ".lora_A.weight";
inline constexpr absl::string_view kLoraBSuffix = ".lora_B.weight";
inline constexpr absl::string_view kHeadModule = "lm_head";
inline constexpr absl::string_view kEmbeddingModule = "embed_tokens";
inline constexpr char kAdapterConfigName[] = "adapter_config.json";
inline constexpr char kAdapterTensorsName[] = "adapter_model.safetensors";

// "base_model.model.model.norm.weight" for "model.norm.weight".
inline std::string AdapterKey(absl::string_view name) { return absl::StrCat(kAdapterPrefix, name); }

// "model.layers.0.input_layernorm" for "model.layers.0.input_layernorm.weight".
inline std::string ModuleOf(absl::string_view parameter) {
  const size_t dot = parameter.rfind('.');
  return std::string(dot == absl::string_view::npos ? parameter : parameter.substr(0, dot));
}

// "input_layernorm" for "model.layers.0.input_layernorm".
inline std::string LastName(absl::string_view module) {
  const size_t dot = module.rfind('.');
  return std::string(dot == absl::string_view::npos ? module : module.substr(dot + 1));
}

}  // namespace longlora::trainer

#endif  // LONGLORA_WORKER_TRAINER_CHECKPOINT_ADAPTER_NAMES_H_
