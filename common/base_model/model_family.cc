#include "common/base_model/model_family.h"

#include "absl/strings/str_join.h"

namespace longlora::common {
namespace {

constexpr ModelFamily kFamilies[] = {
    // Llama 1 to 3.x, SmolLM2 and many more that say so.
    {.model_type = "llama",
     .qkv_bias = BiasRule::kByKey,
     .o_bias = BiasRule::kByKey,
     .mlp_bias = BiasRule::kByKey},
    {.model_type = "mistral",
     .default_kv_heads = 8,
     .window = WindowRule::kAllLayers,
     .default_window = 4096},
    // Qwen2 and 2.5.
    {.model_type = "qwen2",
     .qkv_bias = BiasRule::kAlways,
     .default_kv_heads = 32,
     .window = WindowRule::kWhenUsed,
     .default_window = 4096},
    {.model_type = "qwen3",
     .qkv_bias = BiasRule::kByKey,
     .o_bias = BiasRule::kByKey,
     .head_norms = true,
     .default_kv_heads = 32,
     .default_head_dim = 128,
     .window = WindowRule::kWhenUsed,
     .default_window = 4096},
    // Phi-3, 3.5 and 4-mini.
    {.model_type = "phi3",
     .fused = true,
     .default_rms_norm_eps = 1e-5,
     .default_pad_token_id = 32000,
     .default_original_length = 4096,
     .window = WindowRule::kAllLayers,
     .partial_rotary = true,
     .longrope_only = true},
};

}  // namespace

const ModelFamily* FindModelFamily(absl::string_view model_type) {
  for (const ModelFamily& family : kFamilies) {
    if (family.model_type == model_type) return &family;
  }
  return nullptr;
}

std::string ModelFamilyNames() {
  return absl::StrJoin(kFamilies, ", ", [](std::string* out, const ModelFamily& family) {
    out->append(family.model_type.data(), family.model_type.size());
  });
}

}  // namespace longlora::common
