// Goal: any config.json is refused, or gives a shape the model can be built with. Method: the bytes
// are the file; what was accepted must keep the promises of model_config.h.
#include <cmath>

#include "absl/strings/string_view.h"
#include "common/base_model/model_config.h"
#include "tests/fuzz/require.h"
#include "worker/trainer/model/job_rope.h"

using longlora::fuzz::Require;
using namespace longlora::common;
using namespace longlora::trainer;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto config =
      ParseModelConfig(absl::string_view(reinterpret_cast<const char*>(data), size));
  if (!config.ok()) {
    Require(config.status().code() == absl::StatusCode::kInvalidArgument,
            "always INVALID_ARGUMENT");
    return 0;
  }
  Require(config->num_kv_heads > 0 && config->num_heads % config->num_kv_heads == 0,
          "key/value heads divide the query heads");
  Require(config->head_dim > 0 && config->head_dim % 2 == 0, "head size is even");
  Require(config->pad_token_id >= -1 && config->pad_token_id < config->vocab_size,
          "the padding token is in the vocabulary");
  for (const auto& [name, shape] : ParameterShapes(*config)) {
    int64_t elements = 1;
    for (const int64_t length : shape) {
      Require(length > 0 && !__builtin_mul_overflow(elements, length, &elements),
              "every parameter has a size");
    }
  }
  using longlora::common::RopeType;
  for (const RopeType type :
       {RopeType::kDefault, RopeType::kLinear, RopeType::kDynamic, RopeType::kYarn}) {
    const auto job = JobRope(*config, {.type = type}, /*max_sequence_length=*/1 << 20);
    if (!job.ok()) continue;
    Require(std::isfinite(job->rope.theta) && job->rope.theta >= 1.0, "the base is a number");
    Require(std::isfinite(AttentionFactor(job->rope)), "the attention factor is a number");
    Require(RotaryDim(config->head_dim, job->rope) >= 2, "something turns");
    Require(job->rope.kind != RotaryKind::kLongRope ||
                static_cast<int64_t>(job->rope.short_factor.size()) ==
                    RotaryDim(config->head_dim, job->rope) / 2,
            "longrope has a divisor for each angle");
  }
  return 0;
}
