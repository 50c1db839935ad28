// The shape of a base model, read from the config.json of a Hugging Face directory. Strict:
// whatever the model code does not compute exactly as transformers does is refused here. Used by
// the model, the loader and the exporter. Pure functions but for ReadModelConfig.
#ifndef LONGLORA_WORKER_TRAINER_MODEL_MODEL_CONFIG_H_
#define LONGLORA_WORKER_TRAINER_MODEL_MODEL_CONFIG_H_

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace longlora::trainer {

// Rotary position embedding. A factor of 1 is transformers' "default", above 1 its "linear"
// (position interpolation: angles shrink by the factor).
struct RotaryConfig {
  double theta = 10000.0;
  double factor = 1.0;  // >= 1

  bool operator==(const RotaryConfig&) const = default;
};

struct ModelConfig {
  int64_t vocab_size = 0;
  int64_t hidden_size = 0;
  int64_t intermediate_size = 0;
  int64_t num_layers = 0;
  int64_t num_heads = 0;  // query heads, a multiple of num_kv_heads
  int64_t num_kv_heads = 0;
  int64_t head_dim = 0;                          // even; need not be hidden_size / num_heads
  int64_t max_position_embeddings = 0;           // as the file says
  int64_t original_max_position_embeddings = 0;  // before any rope scaling of the file
  double rms_norm_eps = 0.0;
  bool tie_word_embeddings = false;
  int64_t pad_token_id = -1;  // its embedding row gets no gradient from inputs; -1: none
  RotaryConfig rope;          // as the file says
};

// Parses the text of a config.json. INVALID_ARGUMENT names the key and the reason: not an object, a
// model type other than "llama", a missing key, a wrong type, a value out of bounds, or a feature
// that is not computed here (biases, other activations, other rope types).
absl::StatusOr<ModelConfig> ParseModelConfig(absl::string_view json);

// ParseModelConfig of directory/config.json; NOT_FOUND when there is none.
absl::StatusOr<ModelConfig> ReadModelConfig(const std::string& directory);

// Name and shape of every parameter, as Hugging Face files have them, in the model's order:
// embedding, layers, final norm, and lm_head.weight unless it is tied to the embedding.
std::vector<std::pair<std::string, std::vector<int64_t>>> ParameterShapes(
    const ModelConfig& config);

// The rope a job runs with: linear with the job's factor, or when it names none (`factor` 0) with
// max(1, file's own factor, max_sequence_length / original_max_position_embeddings).
RotaryConfig JobRope(const ModelConfig& config, double factor, int64_t max_sequence_length);

}  // namespace longlora::trainer

#endif  // LONGLORA_WORKER_TRAINER_MODEL_MODEL_CONFIG_H_
