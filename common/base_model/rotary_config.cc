#include "common/base_model/rotary_config.h"

#include <cmath>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base_model/config_fields.h"
#include "common/status/annotate.h"
#include "common/status/status_macros.h"

namespace longlora::common {
namespace {

using Json = nlohmann::json;

constexpr double kMaxTheta = 1e12;
constexpr double kMaxFactor = 1e6;
constexpr int64_t kMaxPositions = int64_t{1} << 32;

constexpr std::pair<RotaryKind, absl::string_view> kKinds[] = {
    {RotaryKind::kDefault, "default"},   {RotaryKind::kLinear, "linear"},
    {RotaryKind::kDynamic, "dynamic"},   {RotaryKind::kYarn, "yarn"},
    {RotaryKind::kLongRope, "longrope"}, {RotaryKind::kLlama3, "llama3"}};

absl::StatusOr<RotaryKind> ParseKind(const Json& rope, bool longrope_only) {
  const Json* type = FindField(rope, "rope_type");
  if (type == nullptr) type = FindField(rope, "type");
  if (type == nullptr) return RotaryKind::kDefault;
  const std::string name = type->is_string() ? type->get<std::string>() : ShowField(*type);
  // As Phi-3's first files have it.
  if (longrope_only && (name == "su" || name == "yarn")) return RotaryKind::kLongRope;
  for (const auto& [kind, known] : kKinds) {
    if (name == known) return kind;
  }
  return absl::InvalidArgumentError(
      absl::StrCat("rope type \"", name,
                   "\" is not supported; default, linear, dynamic, yarn, longrope and llama3 are"));
}

absl::Status ParseYarn(const Json& rope, RotaryConfig& out) {
  LONGLORA_ASSIGN_OR_RETURN(out.attention_factor,
                            OptionalNumberField(rope, "attention_factor", 0.0, kMaxFactor));
  LONGLORA_ASSIGN_OR_RETURN(out.mscale, OptionalNumberField(rope, "mscale", 0.0, kMaxFactor));
  LONGLORA_ASSIGN_OR_RETURN(out.mscale_all_dim,
                            OptionalNumberField(rope, "mscale_all_dim", 0.0, kMaxFactor));
  LONGLORA_ASSIGN_OR_RETURN(const std::optional<double> fast,
                            OptionalNumberField(rope, "beta_fast", 0.0, kMaxFactor));
  LONGLORA_ASSIGN_OR_RETURN(const std::optional<double> slow,
                            OptionalNumberField(rope, "beta_slow", 0.0, kMaxFactor));
  // transformers takes 0 for "not set".
  if (fast.value_or(0.0) != 0.0) out.beta_fast = *fast;
  if (slow.value_or(0.0) != 0.0) out.beta_slow = *slow;
  if (out.beta_fast < out.beta_slow) return BadField("beta_fast", "is less than beta_slow");
  LONGLORA_ASSIGN_OR_RETURN(out.truncate, BooleanField(rope, "truncate", true));
  if (out.theta <= 1.0) return BadField("rope_theta", "must be greater than 1 with yarn");
  return absl::OkStatus();
}

absl::Status ParseLlama3(const Json& rope, RotaryConfig& out) {
  LONGLORA_ASSIGN_OR_RETURN(out.low_freq_factor,
                            NumberField(rope, "low_freq_factor", 1e-6, kMaxFactor));
  LONGLORA_ASSIGN_OR_RETURN(out.high_freq_factor,
                            NumberField(rope, "high_freq_factor", 1e-6, kMaxFactor));
  if (out.high_freq_factor <= out.low_freq_factor) {
    return BadField("high_freq_factor", "must be greater than low_freq_factor");
  }
  return absl::OkStatus();
}

absl::Status ParseLongRope(const Json& rope, const RotaryContext& context, RotaryConfig& out) {
  const int64_t angles = RotaryDim(context.head_dim, out) / 2;
  LONGLORA_ASSIGN_OR_RETURN(out.short_factor,
                            NumbersField(rope, "short_factor", angles, 1e-6, kMaxFactor));
  LONGLORA_ASSIGN_OR_RETURN(out.long_factor,
                            NumbersField(rope, "long_factor", angles, 1e-6, kMaxFactor));
  LONGLORA_ASSIGN_OR_RETURN(out.attention_factor,
                            OptionalNumberField(rope, "attention_factor", 0.0, kMaxFactor));
  if (out.original_length < 2) {
    return BadField("original_max_position_embeddings", "must be at least 2 with longrope");
  }
  return absl::OkStatus();
}

absl::Status ParseKindParameters(const Json& rope, const RotaryContext& context,
                                 RotaryConfig& out) {
  LONGLORA_ASSIGN_OR_RETURN(const std::optional<double> factor,
                            OptionalNumberField(rope, "factor", 1.0, kMaxFactor));
  const bool by_lengths = out.kind == RotaryKind::kYarn || out.kind == RotaryKind::kLongRope;
  if (!factor && !by_lengths) return BadField("factor", "is missing");
  out.factor = factor.value_or(static_cast<double>(context.max_position_embeddings) /
                               static_cast<double>(out.original_length));
  switch (out.kind) {
    case RotaryKind::kYarn:
      return ParseYarn(rope, out);
    case RotaryKind::kLongRope:
      return ParseLongRope(rope, context, out);
    case RotaryKind::kLlama3:
      return ParseLlama3(rope, out);
    case RotaryKind::kDynamic:
      if (RotaryDim(context.head_dim, out) > 2) return absl::OkStatus();
      return BadField("head_dim", "is too small for dynamic rope scaling");
    default:
      return absl::OkStatus();
  }
}

// The original length. At the top level it counts before the rope object's own; and transformers 4
// allowed a linear rope_scaling no further key, so that in our merged models it is in the other
// object.
absl::StatusOr<int64_t> ParseOriginalLength(const Json& config, const Json& rope,
                                            const RotaryContext& context) {
  const Json* const parameters = FindField(config, "rope_parameters");
  const Json none = Json::object();
  for (const Json* holder :
       {&config, &rope, parameters != nullptr && parameters->is_object() ? parameters : &none}) {
    LONGLORA_ASSIGN_OR_RETURN(
        const std::optional<int64_t> original,
        OptionalIntegerField(*holder, "original_max_position_embeddings", 1, kMaxPositions));
    if (original) return *original;
    // Families with a default have the key at the top level, and there only.
    if (context.default_original_length > 0) return context.default_original_length;
  }
  return context.max_position_embeddings;
}

absl::StatusOr<ParsedRotary> ParseRope(const Json& config, const Json& rope,
                                       const RotaryContext& context) {
  ParsedRotary out;
  LONGLORA_ASSIGN_OR_RETURN(const std::optional<double> top_theta,
                            OptionalNumberField(config, "rope_theta", 1.0, kMaxTheta));
  LONGLORA_ASSIGN_OR_RETURN(const std::optional<double> theta,
                            OptionalNumberField(rope, "rope_theta", 1.0, kMaxTheta));
  out.rope.theta = theta.value_or(top_theta.value_or(10000.0));
  LONGLORA_ASSIGN_OR_RETURN(const std::optional<double> top_partial,
                            OptionalNumberField(config, "partial_rotary_factor", 0.0, 1.0));
  LONGLORA_ASSIGN_OR_RETURN(const std::optional<double> partial,
                            OptionalNumberField(rope, "partial_rotary_factor", 0.0, 1.0));
  out.rope.partial_factor = partial.value_or(top_partial.value_or(1.0));
  if (out.rope.partial_factor != 1.0 && !context.partial_rotary) {
    return BadField("partial_rotary_factor", "only 1 is supported for this model type");
  }
  const int64_t dim = RotaryDim(context.head_dim, out.rope);
  if (dim < 2 || dim % 2 != 0) {
    return BadField("partial_rotary_factor",
                    absl::StrCat("leaves ", dim, " of ", context.head_dim,
                                 " elements of a head to turn: must be even and at least 2"));
  }
  LONGLORA_ASSIGN_OR_RETURN(out.original_length, ParseOriginalLength(config, rope, context));
  LONGLORA_ASSIGN_OR_RETURN(out.rope.kind, ParseKind(rope, context.longrope_only));
  if (out.rope.kind == RotaryKind::kDefault) return out;
  if (context.longrope_only && out.rope.kind != RotaryKind::kLongRope) {
    return BadField("rope_type", absl::StrCat("\"", RotaryKindName(out.rope.kind),
                                              "\" is not supported for this model type"));
  }
  if (out.rope.kind != RotaryKind::kLinear && out.rope.kind != RotaryKind::kDynamic) {
    out.rope.original_length = out.original_length;
  }
  LONGLORA_RETURN_IF_ERROR(ParseKindParameters(rope, context, out.rope));
  return out;
}

}  // namespace

absl::string_view RotaryKindName(RotaryKind kind) {
  for (const auto& [known, name] : kKinds) {
    if (kind == known) return name;
  }
  return "unknown";
}

int64_t RotaryDim(int64_t head_dim, const RotaryConfig& rope) {
  return static_cast<int64_t>(static_cast<double>(head_dim) * rope.partial_factor);
}

double AttentionFactor(const RotaryConfig& rope) {
  if (rope.attention_factor) return *rope.attention_factor;
  if (rope.kind == RotaryKind::kYarn) {
    const auto scale = [&](double mscale) {
      return rope.factor <= 1.0 ? 1.0 : 0.1 * mscale * std::log(rope.factor) + 1.0;
    };
    const double over = rope.mscale.value_or(0.0), under = rope.mscale_all_dim.value_or(0.0);
    return over != 0.0 && under != 0.0 ? scale(over) / scale(under) : scale(1.0);
  }
  if (rope.kind == RotaryKind::kLongRope && rope.factor > 1.0) {
    return std::sqrt(1.0 +
                     std::log(rope.factor) / std::log(static_cast<double>(rope.original_length)));
  }
  return 1.0;
}

absl::StatusOr<ParsedRotary> ParseRotary(const Json& config, const RotaryContext& context) {
  // Where both objects are given and not empty, transformers reads rope_scaling.
  const Json none = Json::object();
  const Json* rope = &none;
  const char* key = "rope_theta";
  for (const char* candidate : {"rope_scaling", "rope_parameters"}) {
    const Json* found = FindField(config, candidate);
    if (found == nullptr) continue;
    if (!found->is_object()) {
      return BadField(candidate, absl::StrCat("expected an object, found ", ShowField(*found)));
    }
    if (found->empty()) continue;
    rope = found;
    key = candidate;
    break;
  }
  absl::StatusOr<ParsedRotary> parsed = ParseRope(config, *rope, context);
  if (!parsed.ok() && rope != &none) return Annotate(parsed.status(), key);
  return parsed;
}

}  // namespace longlora::common
