// The shape of a base model, read from the config.json of a Hugging Face directory. Strict:
// whatever the model code does not compute exactly as transformers does is refused here. Used by
// the model, the loader and the exporter. Pure functions but for ReadModelConfig.
#ifndef LONGLORA_COMMON_BASE_MODEL_MODEL_CONFIG_H_
#define LONGLORA_COMMON_BASE_MODEL_MODEL_CONFIG_H_

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/base_model/rotary_config.h"

namespace longlora::common {

struct ModelConfig {
  std::string model_type = "llama";
  int64_t vocab_size = 0;
  int64_t hidden_size = 0;
  int64_t intermediate_size = 0;
  int64_t num_layers = 0;
  int64_t num_heads = 0;  // query heads, a multiple of num_kv_heads
  int64_t num_kv_heads = 0;
  int64_t head_dim = 0;                 // even; need not be hidden_size / num_heads
  bool qkv_bias = false;                // of q_proj, k_proj and v_proj
  bool o_bias = false;                  // of o_proj
  bool mlp_bias = false;                // of gate_proj, up_proj and down_proj
  bool head_norms = false;              // q_norm and k_norm over each head, before it turns
  bool fused = false;                   // qkv_proj and gate_up_proj in the place of five linears
  int64_t max_position_embeddings = 0;  // as the file says
  int64_t original_max_position_embeddings = 0;  // before any rope scaling of the file
  int64_t sliding_window = 0;  // tokens some layer sees at most, itself included; 0: no bound
  double rms_norm_eps = 0.0;
  bool tie_word_embeddings = false;
  int64_t pad_token_id = -1;   // its embedding row gets no gradient from inputs; -1: none
  RotaryConfig rope;           // as the file says
  bool longrope_only = false;  // transformers loads no other rope scaling for this model type
};

// Parses the text of a config.json as transformers does, absent keys included. INVALID_ARGUMENT
// names the key and the reason: not an object, a model type that is not in model_family's table, a
// missing key, a wrong type, a value out of bounds, or a feature that is not computed here
// (dropout, other activations, quantized weights).
absl::StatusOr<ModelConfig> ParseModelConfig(absl::string_view json);

// ParseModelConfig of directory/config.json; NOT_FOUND when there is none.
absl::StatusOr<ModelConfig> ReadModelConfig(const std::string& directory);

// A linear map inside a layer, in the order of computation.
struct LinearShape {
  std::string name;  // below the layer: "self_attn.q_proj"
  int64_t out_features = 0;
  int64_t in_features = 0;
  bool bias = false;
};

// q, k, v, o, gate, up, down; or qkv, o, gate_up, down of a fused model.
std::vector<LinearShape> LayerLinears(const ModelConfig& config);

// Name and shape of every parameter, as Hugging Face files have them, in the model's order:
// embedding, layers, final norm, and lm_head.weight unless it is tied to the embedding.
std::vector<std::pair<std::string, std::vector<int64_t>>> ParameterShapes(
    const ModelConfig& config);

// INVALID_ARGUMENT when a layer's sliding window would cut inside rows of `max_sequence_length`:
// neither pattern has such a window, so training would not be what the model does.
absl::Status CheckWindowCovers(const ModelConfig& config, int64_t max_sequence_length);

}  // namespace longlora::common

#endif  // LONGLORA_COMMON_BASE_MODEL_MODEL_CONFIG_H_
