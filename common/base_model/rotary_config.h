// How far the heads of a model turn by position, as a config.json says it: rope_parameters in
// transformers 5, rope_scaling and rope_theta before. Read as transformers reads it
// (modeling_rope_utils). Pure functions.
#ifndef LONGLORA_COMMON_BASE_MODEL_ROTARY_CONFIG_H_
#define LONGLORA_COMMON_BASE_MODEL_ROTARY_CONFIG_H_

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace longlora::common {

enum class RotaryKind { kDefault, kLinear, kDynamic, kYarn, kLongRope, kLlama3 };

// As transformers spells it: "default", "linear", ...
absl::string_view RotaryKindName(RotaryKind kind);

struct RotaryConfig {
  RotaryKind kind = RotaryKind::kDefault;
  double theta = 10000.0;       // base of the angles, >= 1
  double factor = 1.0;          // >= 1: how many times the length is stretched; not of default
  double partial_factor = 1.0;  // the share of a head, from its start, that turns
  int64_t original_length = 0;  // tokens before stretching: yarn, longrope, llama3

  // yarn and longrope: cos and sin are multiplied by it. Unset: see AttentionFactor().
  std::optional<double> attention_factor = std::nullopt;

  // yarn (Peng et al. 2023): rotations in the original length between which angles are mixed.
  double beta_fast = 32.0;
  double beta_slow = 1.0;
  std::optional<double> mscale = std::nullopt;
  std::optional<double> mscale_all_dim = std::nullopt;
  bool truncate = true;

  // llama3: wavelengths, as shares of the original length, between which angles are mixed.
  double low_freq_factor = 1.0;
  double high_freq_factor = 4.0;

  // longrope (Ding et al. 2024): divisors of each angle, for rows up to the original length and
  // beyond it.
  std::vector<double> short_factor = {};
  std::vector<double> long_factor = {};

  bool operator==(const RotaryConfig&) const = default;
};

// The number of a head's elements that turn: even, at least 2.
int64_t RotaryDim(int64_t head_dim, const RotaryConfig& rope);

// What cos and sin are multiplied by, 1 but for yarn and longrope.
double AttentionFactor(const RotaryConfig& rope);

// What ParseRotary has to know of the model around it.
struct RotaryContext {
  int64_t head_dim = 0;
  int64_t max_position_embeddings = 0;
  int64_t default_original_length = 0;  // 0: max_position_embeddings
  bool partial_rotary = false;          // false: a partial_rotary_factor other than 1 is refused
  bool longrope_only = false;           // old names of longrope are taken for it
};

struct ParsedRotary {
  RotaryConfig rope;
  int64_t original_length = 0;  // tokens the model reached before any stretching
};

// INVALID_ARGUMENT names the key: an unknown kind, a missing or impossible parameter of a kind.
absl::StatusOr<ParsedRotary> ParseRotary(const nlohmann::json& config,
                                         const RotaryContext& context);

}  // namespace longlora::common

#endif  // LONGLORA_COMMON_BASE_MODEL_ROTARY_CONFIG_H_
