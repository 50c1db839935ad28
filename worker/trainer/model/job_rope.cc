#include "worker/trainer/model/job_rope.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "common/status/status_macros.h"

namespace longlora::trainer {
namespace {

using common::RopeType;

// Tokens the file's own scaling serves.
double Reach(const common::ModelConfig& config) {
  const auto stated = static_cast<double>(config.max_position_embeddings);
  const common::RotaryConfig& rope = config.rope;
  if (rope.kind != common::RotaryKind::kYarn && rope.kind != common::RotaryKind::kLlama3)
    return stated;
  return std::max(stated, rope.factor * static_cast<double>(rope.original_length));
}

// Dynamic NTK at one length (transformers' _compute_dynamic_ntk_parameters): the default kind with
// a larger base.
common::RotaryConfig FixDynamic(const common::ModelConfig& config, double factor, double original,
                                double length) {
  const auto dim = static_cast<double>(common::RotaryDim(config.head_dim, config.rope));
  common::RotaryConfig rope;
  rope.partial_factor = config.rope.partial_factor;
  rope.theta =
      config.rope.theta * std::pow(factor * length / original - (factor - 1.0), dim / (dim - 2.0));
  return rope;
}

// The file's own scaling, at rows of `length`.
common::RotaryConfig FixFile(const common::ModelConfig& config, int64_t length) {
  common::RotaryConfig rope = config.rope;
  if (rope.kind == common::RotaryKind::kDynamic && length > config.max_position_embeddings) {
    return FixDynamic(config, rope.factor, static_cast<double>(config.max_position_embeddings),
                      static_cast<double>(length));
  }
  if (rope.kind == common::RotaryKind::kLongRope && length > rope.original_length) {
    rope.short_factor = rope.long_factor;
  }
  return rope;
}

common::RotaryConfig Scaled(const common::ModelConfig& config, common::RotaryKind kind,
                            double factor) {
  common::RotaryConfig rope;
  // A yarn of another factor keeps the file's other parameters.
  if (kind == common::RotaryKind::kYarn && config.rope.kind == kind) rope = config.rope;
  rope.attention_factor.reset();
  rope.theta = config.rope.theta;
  rope.partial_factor = config.rope.partial_factor;
  rope.kind = factor > 1.0 ? kind : common::RotaryKind::kDefault;
  rope.factor = factor;
  rope.original_length =
      rope.kind == common::RotaryKind::kYarn ? config.original_max_position_embeddings : 0;
  return rope;
}

std::string BeyondReach(const common::ModelConfig& config, int64_t length) {
  return absl::StrCat("max_sequence_length is ", length, " and the model's own ",
                      common::RotaryKindName(config.rope.kind), " position embedding reaches ",
                      static_cast<int64_t>(Reach(config)), " tokens");
}

absl::StatusOr<JobRotary> Default(const common::ModelConfig& config, double by_length,
                                  int64_t length) {
  const common::RotaryKind kind = config.rope.kind;
  if (kind == common::RotaryKind::kDefault || kind == common::RotaryKind::kLinear) {
    return JobRotary{
        Scaled(config, common::RotaryKind::kLinear, std::max(config.rope.factor, by_length)), ""};
  }
  if (kind != common::RotaryKind::kDynamic && static_cast<double>(length) > Reach(config)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "method.rope_scaling: ", BeyondReach(config, length),
        ". Say what is to replace it, with type and factor, or keep it with type: default"));
  }
  return JobRotary{FixFile(config, length), ""};
}

absl::StatusOr<JobRotary> Asked(const common::ModelConfig& config,
                                const common::RopeScalingSpec& asked, double by_length,
                                int64_t length) {
  const bool yarn = asked.type == RopeType::kYarn;
  const bool same = yarn && config.rope.kind == common::RotaryKind::kYarn;
  if (same && !asked.factor && static_cast<double>(length) <= Reach(config)) {
    return JobRotary{config.rope, ""};
  }
  const double factor = asked.factor.value_or(by_length);
  JobRotary job;
  const auto original = static_cast<double>(config.original_max_position_embeddings);
  if (asked.type == RopeType::kDynamic) {
    if (common::RotaryDim(config.head_dim, config.rope) <= 2) {
      return absl::InvalidArgumentError(
          "method.rope_scaling.type: the model's heads are too small for dynamic");
    }
    job.rope =
        FixDynamic(config, factor, original, std::max(original, static_cast<double>(length)));
  } else {
    job.rope =
        Scaled(config, yarn ? common::RotaryKind::kYarn : common::RotaryKind::kLinear, factor);
  }
  const common::RotaryKind replaced = config.rope.kind;
  if (replaced != common::RotaryKind::kDefault && replaced != job.rope.kind) {
    job.warning = absl::StrCat(
        "method.rope_scaling replaces the model's own ", common::RotaryKindName(replaced),
        " scaling, counted from its original ", config.original_max_position_embeddings, " tokens");
  }
  return job;
}

}  // namespace

absl::StatusOr<JobRotary> JobRope(const common::ModelConfig& config,
                                  const common::RopeScalingSpec& asked,
                                  int64_t max_sequence_length) {
  if (asked.type == RopeType::kDefault) {
    const bool beyond = config.rope.kind != common::RotaryKind::kDynamic &&
                        static_cast<double>(max_sequence_length) > Reach(config);
    return JobRotary{FixFile(config, max_sequence_length),
                     beyond ? absl::StrCat(BeyondReach(config, max_sequence_length),
                                           ": later tokens turn further than it was trained for")
                            : ""};
  }
  if (asked.type == RopeType::kLlama3) {
    return absl::InvalidArgumentError(
        "method.rope_scaling.type: llama3 is a scaling that models bring; use default to keep it");
  }
  const double by_length =
      std::max(1.0, static_cast<double>(max_sequence_length) /
                        static_cast<double>(config.original_max_position_embeddings));
  const bool wish = asked.type != RopeType::kLinear || asked.factor.has_value();
  LONGLORA_ASSIGN_OR_RETURN(JobRotary job,
                            wish ? Asked(config, asked, by_length, max_sequence_length)
                                 : Default(config, by_length, max_sequence_length));
  const bool scaled =
      job.rope.kind == common::RotaryKind::kLinear || job.rope.kind == common::RotaryKind::kYarn;
  if (scaled && config.longrope_only) {
    return absl::InvalidArgumentError(absl::StrCat(
        "method.rope_scaling: transformers knows no ", common::RotaryKindName(job.rope.kind),
        " scaling for model type ", config.model_type, "; keep max_sequence_length within ",
        config.max_position_embeddings,
        ", or use dynamic, or default to go beyond without scaling"));
  }
  return job;
}

}  // namespace longlora::trainer
