#include "common/base_model/model_config.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>

#include "absl/strings/str_cat.h"
#include "common/base_model/config_fields.h"
#include "common/base_model/model_family.h"
#include "common/io/files.h"
#include "common/status/annotate.h"
#include "common/status/status_macros.h"

namespace longlora::common {
namespace {

using Json = nlohmann::json;

constexpr int64_t kMaxConfigBytes = 1 << 20;
// Far beyond any real model; small enough that no product of two of them overflows.
constexpr int64_t kMaxDimension = 1 << 24;
constexpr int64_t kMaxLayers = 4096;
constexpr int64_t kMaxHeads = 4096;
constexpr int64_t kMaxHeadDim = 1024;
constexpr int64_t kMaxPositions = int64_t{1} << 32;

absl::Status RefuseUncomputed(const Json& root) {
  if (const Json* act = FindField(root, "hidden_act"); act != nullptr && *act != "silu") {
    return BadField("hidden_act",
                    absl::StrCat("only \"silu\" is supported, found ", ShowField(*act)));
  }
  if (FindField(root, "quantization_config") != nullptr) {
    return BadField("quantization_config",
                    "quantized models are not supported: use the original weights");
  }
  for (const char* key : {"attention_dropout", "resid_pdrop"}) {
    LONGLORA_ASSIGN_OR_RETURN(const std::optional<double> dropout,
                              OptionalNumberField(root, key, 0, 1));
    if (dropout.value_or(0.0) != 0.0) return BadField(key, "only 0 is supported by this version");
  }
  return absl::OkStatus();
}

absl::StatusOr<bool> HasBias(const Json& root, BiasRule rule, const char* key) {
  if (rule != BiasRule::kByKey) return rule == BiasRule::kAlways;
  return BooleanField(root, key, false);
}

absl::Status ParseParts(const Json& root, const ModelFamily& family, ModelConfig& config) {
  LONGLORA_ASSIGN_OR_RETURN(config.qkv_bias, HasBias(root, family.qkv_bias, "attention_bias"));
  LONGLORA_ASSIGN_OR_RETURN(config.o_bias, HasBias(root, family.o_bias, "attention_bias"));
  LONGLORA_ASSIGN_OR_RETURN(config.mlp_bias, HasBias(root, family.mlp_bias, "mlp_bias"));
  config.head_norms = family.head_norms;
  config.fused = family.fused;
  config.longrope_only = family.longrope_only;
  return absl::OkStatus();
}

// A default stands for an absent key only; null means "as many as query heads".
absl::Status ParseKvHeads(const Json& root, const ModelFamily& family, ModelConfig& config) {
  LONGLORA_ASSIGN_OR_RETURN(const std::optional<int64_t> num_kv_heads,
                            OptionalIntegerField(root, "num_key_value_heads", 1, kMaxHeads));
  const bool absent = !root.contains("num_key_value_heads");
  config.num_kv_heads = num_kv_heads.value_or(
      absent && family.default_kv_heads > 0 ? family.default_kv_heads : config.num_heads);
  if (config.num_heads % config.num_kv_heads != 0) {
    return BadField("num_key_value_heads",
                    absl::StrCat(config.num_kv_heads, " does not divide the ", config.num_heads,
                                 " attention heads"));
  }
  return absl::OkStatus();
}

absl::Status ParseHeads(const Json& root, const ModelFamily& family, ModelConfig& config) {
  LONGLORA_ASSIGN_OR_RETURN(config.num_heads, IntegerField(root, "num_attention_heads", kMaxHeads));
  LONGLORA_RETURN_IF_ERROR(ParseKvHeads(root, family, config));
  LONGLORA_ASSIGN_OR_RETURN(std::optional<int64_t> head_dim,
                            OptionalIntegerField(root, "head_dim", 2, kMaxHeadDim));
  if (!head_dim && family.default_head_dim > 0) head_dim = family.default_head_dim;
  if (!head_dim && config.hidden_size % config.num_heads != 0) {
    return BadField("hidden_size", absl::StrCat(config.hidden_size, " is not a multiple of the ",
                                                config.num_heads, " attention heads"));
  }
  config.head_dim = head_dim.value_or(config.hidden_size / config.num_heads);
  if (config.head_dim % 2 != 0 || config.head_dim < 2 || config.head_dim > kMaxHeadDim) {
    return BadField("head_dim", absl::StrCat("must be even and between 2 and ", kMaxHeadDim,
                                             ", is ", config.head_dim));
  }
  return absl::OkStatus();
}

// Whether layer_types names a layer with a window.
absl::StatusOr<bool> AnySlidingLayer(const Json& types, int64_t num_layers) {
  if (!types.is_array() || static_cast<int64_t>(types.size()) != num_layers) {
    return BadField("layer_types", absl::StrCat("expected a list of ", num_layers, " names, found ",
                                                ShowField(types)));
  }
  bool any = false;
  for (const Json& type : types) {
    if (type != "full_attention" && type != "sliding_attention") {
      return BadField(
          "layer_types",
          absl::StrCat("only full_attention and sliding_attention are supported, found ",
                       ShowField(type)));
    }
    any |= type == "sliding_attention";
  }
  return any;
}

absl::Status ParseWindow(const Json& root, const ModelFamily& family, ModelConfig& config) {
  if (family.window == WindowRule::kNone) return absl::OkStatus();
  LONGLORA_ASSIGN_OR_RETURN(const std::optional<int64_t> given,
                            OptionalIntegerField(root, "sliding_window", 1, kMaxPositions));
  int64_t window = given.value_or(root.contains("sliding_window") ? 0 : family.default_window);
  if (family.window == WindowRule::kWhenUsed) {
    LONGLORA_ASSIGN_OR_RETURN(const bool used, BooleanField(root, "use_sliding_window", false));
    if (!used) window = 0;
    bool any = false;
    if (const Json* types = FindField(root, "layer_types"); types != nullptr) {
      LONGLORA_ASSIGN_OR_RETURN(any, AnySlidingLayer(*types, config.num_layers));
      if (any && window == 0) {
        return BadField("layer_types",
                        "names sliding_attention, and there is no sliding_window "
                        "(or use_sliding_window is false)");
      }
    } else {
      LONGLORA_ASSIGN_OR_RETURN(const std::optional<int64_t> full,
                                OptionalIntegerField(root, "max_window_layers", 0, kMaxDimension));
      any = config.num_layers > full.value_or(28);
    }
    if (!any) window = 0;
  }
  config.sliding_window = window;
  return absl::OkStatus();
}

absl::Status ParseRotaryInto(const Json& root, const ModelFamily& family, ModelConfig& config) {
  LONGLORA_ASSIGN_OR_RETURN(
      ParsedRotary rotary,
      ParseRotary(root, {.head_dim = config.head_dim,
                         .max_position_embeddings = config.max_position_embeddings,
                         .default_original_length = family.default_original_length,
                         .partial_rotary = family.partial_rotary,
                         .longrope_only = family.longrope_only}));
  config.rope = std::move(rotary.rope);
  config.original_max_position_embeddings = rotary.original_length;
  return absl::OkStatus();
}

absl::Status ParsePadToken(const Json& root, const ModelFamily& family, ModelConfig& config) {
  LONGLORA_ASSIGN_OR_RETURN(const std::optional<int64_t> pad,
                            OptionalIntegerField(root, "pad_token_id", -1, config.vocab_size - 1));
  config.pad_token_id =
      pad.value_or(root.contains("pad_token_id") ? -1 : family.default_pad_token_id);
  if (config.pad_token_id < config.vocab_size) return absl::OkStatus();
  return BadField("pad_token_id", absl::StrCat("is missing, and transformers' default for this "
                                               "model type, ",
                                               config.pad_token_id, ", is not in the vocabulary"));
}

absl::StatusOr<const ModelFamily*> ParseFamily(const Json& root) {
  const Json* type = FindField(root, "model_type");
  if (type == nullptr) return BadField("model_type", "is missing");
  const ModelFamily* const family =
      type->is_string() ? FindModelFamily(type->get_ref<const std::string&>()) : nullptr;
  if (family != nullptr) return family;
  return BadField("model_type", absl::StrCat(ShowField(*type),
                                             " is not supported; these are: ", ModelFamilyNames()));
}

}  // namespace

absl::StatusOr<ModelConfig> ParseModelConfig(absl::string_view json) {
  const Json root = Json::parse(json.begin(), json.end(), nullptr, /*allow_exceptions=*/false);
  if (root.is_discarded() || !root.is_object()) {
    return absl::InvalidArgumentError("not a JSON object");
  }
  LONGLORA_ASSIGN_OR_RETURN(const ModelFamily* const family, ParseFamily(root));
  ModelConfig config;
  config.model_type = std::string(family->model_type);
  LONGLORA_ASSIGN_OR_RETURN(config.vocab_size, IntegerField(root, "vocab_size", kMaxDimension));
  LONGLORA_ASSIGN_OR_RETURN(config.hidden_size, IntegerField(root, "hidden_size", kMaxDimension));
  LONGLORA_ASSIGN_OR_RETURN(config.intermediate_size,
                            IntegerField(root, "intermediate_size", kMaxDimension));
  LONGLORA_ASSIGN_OR_RETURN(config.num_layers, IntegerField(root, "num_hidden_layers", kMaxLayers));
  LONGLORA_RETURN_IF_ERROR(ParseHeads(root, *family, config));
  LONGLORA_RETURN_IF_ERROR(ParseParts(root, *family, config));
  LONGLORA_ASSIGN_OR_RETURN(config.max_position_embeddings,
                            IntegerField(root, "max_position_embeddings", kMaxPositions));
  LONGLORA_ASSIGN_OR_RETURN(const std::optional<double> eps,
                            OptionalNumberField(root, "rms_norm_eps", 1e-12, 1.0));
  config.rms_norm_eps = eps.value_or(family->default_rms_norm_eps);
  LONGLORA_ASSIGN_OR_RETURN(config.tie_word_embeddings,
                            BooleanField(root, "tie_word_embeddings", false));
  LONGLORA_RETURN_IF_ERROR(ParsePadToken(root, *family, config));
  LONGLORA_RETURN_IF_ERROR(ParseWindow(root, *family, config));
  LONGLORA_RETURN_IF_ERROR(ParseRotaryInto(root, *family, config));
  LONGLORA_RETURN_IF_ERROR(RefuseUncomputed(root));
  return config;
}

absl::StatusOr<ModelConfig> ReadModelConfig(const std::string& directory) {
  const std::string path = absl::StrCat(directory, "/config.json");
  LONGLORA_ASSIGN_OR_RETURN(const std::string text, ReadFile(path, kMaxConfigBytes));
  absl::StatusOr<ModelConfig> config = ParseModelConfig(text);
  if (!config.ok()) return Annotate(config.status(), path);
  return config;
}

std::vector<LinearShape> LayerLinears(const ModelConfig& config) {
  const int64_t e = config.hidden_size, i = config.intermediate_size;
  const int64_t q = config.num_heads * config.head_dim;
  const int64_t kv = config.num_kv_heads * config.head_dim;
  const LinearShape o = {"self_attn.o_proj", e, q, config.o_bias};
  const LinearShape down = {"mlp.down_proj", e, i, config.mlp_bias};
  if (config.fused) {
    return {{"self_attn.qkv_proj", q + 2 * kv, e, config.qkv_bias},
            o,
            {"mlp.gate_up_proj", 2 * i, e, config.mlp_bias},
            down};
  }
  return {{"self_attn.q_proj", q, e, config.qkv_bias},
          {"self_attn.k_proj", kv, e, config.qkv_bias},
          {"self_attn.v_proj", kv, e, config.qkv_bias},
          o,
          {"mlp.gate_proj", i, e, config.mlp_bias},
          {"mlp.up_proj", i, e, config.mlp_bias},
          down};
}

std::vector<std::pair<std::string, std::vector<int64_t>>> ParameterShapes(
    const ModelConfig& config) {
  const int64_t e = config.hidden_size;
  std::vector<std::pair<std::string, std::vector<int64_t>>> shapes;
  shapes.push_back({"model.embed_tokens.weight", {config.vocab_size, e}});
  const std::vector<LinearShape> linears = LayerLinears(config);
  for (int64_t layer = 0; layer < config.num_layers; ++layer) {
    const std::string prefix = absl::StrCat("model.layers.", layer, ".");
    shapes.push_back({prefix + "input_layernorm.weight", {e}});
    for (const LinearShape& linear : linears) {
      const std::string name = prefix + linear.name;
      shapes.push_back({name + ".weight", {linear.out_features, linear.in_features}});
      if (linear.bias) shapes.push_back({name + ".bias", {linear.out_features}});
      if (linear.name != "self_attn.o_proj") continue;
      if (config.head_norms) {
        shapes.push_back({prefix + "self_attn.q_norm.weight", {config.head_dim}});
        shapes.push_back({prefix + "self_attn.k_norm.weight", {config.head_dim}});
      }
      shapes.push_back({prefix + "post_attention_layernorm.weight", {e}});
    }
  }
  shapes.push_back({"model.norm.weight", {e}});
  if (!config.tie_word_embeddings) shapes.push_back({"lm_head.weight", {config.vocab_size, e}});
  return shapes;
}

absl::Status CheckWindowCovers(const ModelConfig& config, int64_t max_sequence_length) {
  if (config.sliding_window == 0 || config.sliding_window >= max_sequence_length) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      absl::StrCat("max_sequence_length is ", max_sequence_length,
                   " and the model's sliding_window ", config.sliding_window,
                   ": its layers would look no further back than that. Use rows of at most ",
                   config.sliding_window, " tokens, or a model without a sliding window"));
}

}  // namespace longlora::common
