#include "worker/trainer/model/model_config.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>

#include "absl/strings/str_cat.h"
#include "common/io/files.h"
#include "common/status/annotate.h"
#include "common/status/status_macros.h"

namespace longlora::trainer {
namespace {

using Json = nlohmann::json;

constexpr int64_t kMaxConfigBytes = 1 << 20;
// Far beyond any real model; small enough that no product of two of them overflows.
constexpr int64_t kMaxDimension = 1 << 24;
constexpr int64_t kMaxLayers = 4096;
constexpr int64_t kMaxHeads = 4096;
constexpr int64_t kMaxHeadDim = 1024;
constexpr int64_t kMaxPositions = int64_t{1} << 32;
constexpr double kMaxRopeFactor = 1e6;

absl::Status Bad(absl::string_view key, absl::string_view reason) {
  return absl::InvalidArgumentError(absl::StrCat(key, ": ", reason));
}

std::string Show(const Json& value) {
  const std::string text = value.dump(-1, ' ', false, Json::error_handler_t::replace);
  return text.size() <= 40 ? text : absl::StrCat(text.substr(0, 40), "...");
}

// The value of `key`; null and absent are the same, as transformers writes null for "not set".
const Json* Find(const Json& object, const char* key) {
  const auto it = object.find(key);
  return it == object.end() || it->is_null() ? nullptr : &*it;
}

absl::StatusOr<std::optional<int64_t>> OptionalInteger(const Json& object, const char* key,
                                                       int64_t min, int64_t max) {
  const Json* value = Find(object, key);
  if (value == nullptr) return std::optional<int64_t>();
  if (!value->is_number_integer()) {
    return Bad(key, absl::StrCat("expected an integer, found ", Show(*value)));
  }
  const bool huge = value->is_number_unsigned() &&
                    value->get<uint64_t>() > uint64_t{std::numeric_limits<int64_t>::max()};
  if (huge || value->get<int64_t>() < min || value->get<int64_t>() > max) {
    return Bad(key, absl::StrCat("must be between ", min, " and ", max, ", is ", Show(*value)));
  }
  return std::optional<int64_t>(value->get<int64_t>());
}

absl::StatusOr<int64_t> Integer(const Json& object, const char* key, int64_t max) {
  LONGLORA_ASSIGN_OR_RETURN(const std::optional<int64_t> value,
                            OptionalInteger(object, key, 1, max));
  if (!value) return Bad(key, "is missing");
  return *value;
}

// A number in [min, max]; `otherwise` when absent.
absl::StatusOr<double> Number(const Json& object, const char* key, double min, double max,
                              std::optional<double> otherwise) {
  const Json* value = Find(object, key);
  if (value == nullptr) {
    if (!otherwise) return Bad(key, "is missing");
    return *otherwise;
  }
  if (!value->is_number()) {
    return Bad(key, absl::StrCat("expected a number, found ", Show(*value)));
  }
  const double number = value->get<double>();
  if (!(number >= min && number <= max)) {
    return Bad(key, absl::StrCat("must be between ", min, " and ", max, ", is ", Show(*value)));
  }
  return number;
}

absl::StatusOr<bool> Boolean(const Json& object, const char* key, bool otherwise) {
  const Json* value = Find(object, key);
  if (value == nullptr) return otherwise;
  if (!value->is_boolean()) {
    return Bad(key, absl::StrCat("expected true or false, found ", Show(*value)));
  }
  return value->get<bool>();
}

absl::Status RefuseUncomputed(const Json& root) {
  for (const char* key : {"attention_bias", "mlp_bias"}) {
    LONGLORA_ASSIGN_OR_RETURN(const bool bias, Boolean(root, key, false));
    if (bias) return Bad(key, "biases are not supported by this version");
  }
  if (const Json* act = Find(root, "hidden_act"); act != nullptr && *act != "silu") {
    return Bad("hidden_act", absl::StrCat("only \"silu\" is supported, found ", Show(*act)));
  }
  if (Find(root, "quantization_config") != nullptr) {
    return Bad("quantization_config",
               "quantized models are not supported: use the original weights");
  }
  LONGLORA_ASSIGN_OR_RETURN(const double dropout, Number(root, "attention_dropout", 0, 1, 0.0));
  if (dropout != 0) return Bad("attention_dropout", "only 0 is supported by this version");
  return absl::OkStatus();
}

// transformers 5 writes rope_parameters; before, rope_scaling beside a top-level rope_theta. Where
// both objects are given transformers reads rope_scaling.
absl::Status ParseRope(const Json& root, ModelConfig& config) {
  const Json* rope = Find(root, "rope_scaling");
  const char* key = "rope_scaling";
  if (rope == nullptr) {
    key = "rope_parameters";
    rope = Find(root, key);
  }
  LONGLORA_ASSIGN_OR_RETURN(config.rope.theta, Number(root, "rope_theta", 1.0, 1e12, 10000.0));
  config.original_max_position_embeddings = config.max_position_embeddings;
  if (rope == nullptr) return absl::OkStatus();
  if (!rope->is_object()) {
    return Bad(key, absl::StrCat("expected an object, found ", Show(*rope)));
  }
  const Json* type = Find(*rope, "rope_type");
  if (type == nullptr) type = Find(*rope, "type");
  const std::string kind = type == nullptr     ? "default"
                           : type->is_string() ? type->get<std::string>()
                                               : Show(*type);
  const auto inside = [&](auto result) {
    return result.ok() ? result : decltype(result)(common::Annotate(result.status(), key));
  };
  LONGLORA_ASSIGN_OR_RETURN(config.rope.theta,
                            inside(Number(*rope, "rope_theta", 1.0, 1e12, config.rope.theta)));
  LONGLORA_ASSIGN_OR_RETURN(const double partial,
                            inside(Number(*rope, "partial_rotary_factor", 0, 1, 1.0)));
  if (partial != 1.0) return Bad(key, "partial_rotary_factor other than 1 is not supported");
  if (kind == "linear") {
    LONGLORA_ASSIGN_OR_RETURN(config.rope.factor,
                              inside(Number(*rope, "factor", 1.0, kMaxRopeFactor, std::nullopt)));
  } else if (kind != "default") {
    return Bad(key, absl::StrCat("rope type \"", kind,
                                 "\" is not supported by this version; default and linear are"));
  }
  // transformers 4 allowed a linear rope_scaling no further key: where both objects stand, as in
  // our merged models, the original length is in the other one.
  const Json* holder = rope;
  if (const Json* other = Find(root, "rope_parameters");
      other != nullptr && other->is_object() &&
      Find(*rope, "original_max_position_embeddings") == nullptr) {
    holder = other;
  }
  LONGLORA_ASSIGN_OR_RETURN(
      const std::optional<int64_t> original,
      inside(OptionalInteger(*holder, "original_max_position_embeddings", 1, kMaxPositions)));
  if (original) config.original_max_position_embeddings = *original;
  return absl::OkStatus();
}

absl::Status ParseHeads(const Json& root, ModelConfig& config) {
  LONGLORA_ASSIGN_OR_RETURN(config.num_heads, Integer(root, "num_attention_heads", kMaxHeads));
  LONGLORA_ASSIGN_OR_RETURN(const std::optional<int64_t> num_kv_heads,
                            OptionalInteger(root, "num_key_value_heads", 1, kMaxHeads));
  config.num_kv_heads = num_kv_heads.value_or(config.num_heads);
  if (config.num_heads % config.num_kv_heads != 0) {
    return Bad("num_key_value_heads", absl::StrCat(config.num_kv_heads, " does not divide the ",
                                                   config.num_heads, " attention heads"));
  }
  LONGLORA_ASSIGN_OR_RETURN(const std::optional<int64_t> head_dim,
                            OptionalInteger(root, "head_dim", 2, kMaxHeadDim));
  if (!head_dim && config.hidden_size % config.num_heads != 0) {
    return Bad("hidden_size", absl::StrCat(config.hidden_size, " is not a multiple of the ",
                                           config.num_heads, " attention heads"));
  }
  config.head_dim = head_dim.value_or(config.hidden_size / config.num_heads);
  if (config.head_dim % 2 != 0 || config.head_dim < 2 || config.head_dim > kMaxHeadDim) {
    return Bad("head_dim", absl::StrCat("must be even and between 2 and ", kMaxHeadDim, ", is ",
                                        config.head_dim));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<ModelConfig> ParseModelConfig(absl::string_view json) {
  const Json root = Json::parse(json.begin(), json.end(), nullptr, /*allow_exceptions=*/false);
  if (root.is_discarded() || !root.is_object()) {
    return absl::InvalidArgumentError("not a JSON object");
  }
  const Json* type = Find(root, "model_type");
  if (type == nullptr) return Bad("model_type", "is missing");
  if (*type != "llama") {
    return Bad("model_type", absl::StrCat(Show(*type), " is not supported; \"llama\" is"));
  }
  ModelConfig config;
  LONGLORA_ASSIGN_OR_RETURN(config.vocab_size, Integer(root, "vocab_size", kMaxDimension));
  LONGLORA_ASSIGN_OR_RETURN(config.hidden_size, Integer(root, "hidden_size", kMaxDimension));
  LONGLORA_ASSIGN_OR_RETURN(config.intermediate_size,
                            Integer(root, "intermediate_size", kMaxDimension));
  LONGLORA_ASSIGN_OR_RETURN(config.num_layers, Integer(root, "num_hidden_layers", kMaxLayers));
  LONGLORA_RETURN_IF_ERROR(ParseHeads(root, config));
  LONGLORA_ASSIGN_OR_RETURN(config.max_position_embeddings,
                            Integer(root, "max_position_embeddings", kMaxPositions));
  LONGLORA_ASSIGN_OR_RETURN(config.rms_norm_eps, Number(root, "rms_norm_eps", 1e-12, 1.0, 1e-6));
  LONGLORA_ASSIGN_OR_RETURN(config.tie_word_embeddings,
                            Boolean(root, "tie_word_embeddings", false));
  LONGLORA_ASSIGN_OR_RETURN(const std::optional<int64_t> pad,
                            OptionalInteger(root, "pad_token_id", -1, config.vocab_size - 1));
  config.pad_token_id = pad.value_or(-1);
  LONGLORA_RETURN_IF_ERROR(ParseRope(root, config));
  LONGLORA_RETURN_IF_ERROR(RefuseUncomputed(root));
  return config;
}

absl::StatusOr<ModelConfig> ReadModelConfig(const std::string& directory) {
  const std::string path = absl::StrCat(directory, "/config.json");
  LONGLORA_ASSIGN_OR_RETURN(const std::string text, common::ReadFile(path, kMaxConfigBytes));
  absl::StatusOr<ModelConfig> config = ParseModelConfig(text);
  if (!config.ok()) return common::Annotate(config.status(), path);
  return config;
}

std::vector<std::pair<std::string, std::vector<int64_t>>> ParameterShapes(
    const ModelConfig& config) {
  const int64_t e = config.hidden_size, i = config.intermediate_size;
  const int64_t q = config.num_heads * config.head_dim;
  const int64_t kv = config.num_kv_heads * config.head_dim;
  std::vector<std::pair<std::string, std::vector<int64_t>>> shapes;
  shapes.push_back({"model.embed_tokens.weight", {config.vocab_size, e}});
  for (int64_t layer = 0; layer < config.num_layers; ++layer) {
    const std::string prefix = absl::StrCat("model.layers.", layer, ".");
    shapes.push_back({prefix + "input_layernorm.weight", {e}});
    shapes.push_back({prefix + "self_attn.q_proj.weight", {q, e}});
    shapes.push_back({prefix + "self_attn.k_proj.weight", {kv, e}});
    shapes.push_back({prefix + "self_attn.v_proj.weight", {kv, e}});
    shapes.push_back({prefix + "self_attn.o_proj.weight", {e, q}});
    shapes.push_back({prefix + "post_attention_layernorm.weight", {e}});
    shapes.push_back({prefix + "mlp.gate_proj.weight", {i, e}});
    shapes.push_back({prefix + "mlp.up_proj.weight", {i, e}});
    shapes.push_back({prefix + "mlp.down_proj.weight", {e, i}});
  }
  shapes.push_back({"model.norm.weight", {e}});
  if (!config.tie_word_embeddings) shapes.push_back({"lm_head.weight", {config.vocab_size, e}});
  return shapes;
}

RotaryConfig JobRope(const ModelConfig& config, double factor, int64_t max_sequence_length) {
  RotaryConfig rope = config.rope;
  if (factor == 0) {
    const double reach = static_cast<double>(config.original_max_position_embeddings);
    factor = std::max(rope.factor, static_cast<double>(max_sequence_length) / reach);
  }
  rope.factor = factor;
  return rope;
}

}  // namespace longlora::trainer
