// The decoders this trainer computes, one row of a table each: what tells them apart from Llama.
// Pure data, taken from the modeling and configuration files of transformers 5; model_config reads
// a config.json by it, and nothing else asks for a family's name.
#ifndef LONGLORA_COMMON_BASE_MODEL_MODEL_FAMILY_H_
#define LONGLORA_COMMON_BASE_MODEL_MODEL_FAMILY_H_

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"

namespace longlora::common {

enum class BiasRule {
  kNever,
  kAlways,
  kByKey,  // as the config's attention_bias or mlp_bias says
};

enum class WindowRule {
  kNone,       // sliding_window is not read
  kAllLayers,  // sliding_window holds in every layer, null is none
  kWhenUsed,   // only with use_sliding_window; layer_types or max_window_layers say in which layers
};

struct ModelFamily {
  absl::string_view model_type;  // of config.json
  BiasRule qkv_bias = BiasRule::kNever;
  BiasRule o_bias = BiasRule::kNever;
  BiasRule mlp_bias = BiasRule::kNever;
  bool head_norms = false;  // RMS norms over each query and key head: q_norm, k_norm
  bool fused = false;       // qkv_proj and gate_up_proj instead of five linears

  // What transformers takes when the key is absent.
  int64_t default_kv_heads = 0;  // 0: as many as query heads
  int64_t default_head_dim = 0;  // 0: hidden_size / num_attention_heads
  double default_rms_norm_eps = 1e-6;
  int64_t default_pad_token_id = -1;
  int64_t default_original_length = 0;  // 0: max_position_embeddings

  WindowRule window = WindowRule::kNone;
  int64_t default_window = 0;  // tokens; 0: none

  bool partial_rotary = false;  // honours partial_rotary_factor
  bool longrope_only = false;   // transformers refuses other rope scalings for it
};

// The family of a model_type; null: not one of ours.
const ModelFamily* FindModelFamily(absl::string_view model_type);

// "llama, mistral, ...", for messages.
std::string ModelFamilyNames();

}  // namespace longlora::common

#endif  // LONGLORA_COMMON_BASE_MODEL_MODEL_FAMILY_H_
