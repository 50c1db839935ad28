#include "worker/trainer/checkpoint/rope_config.h"

namespace longlora::trainer {
namespace {

constexpr char kDefault[] = "default";

void AddExtra(const HuggingFaceRope& rope, nlohmann::ordered_json& json) {
  for (const auto& [key, value] : rope.extra.items()) json[key] = value;
}

}  // namespace

nlohmann::ordered_json RopeParameters(const HuggingFaceRope& rope) {
  nlohmann::ordered_json json = {{"rope_type", rope.type}, {"rope_theta", rope.theta}};
  if (rope.type == kDefault) return json;
  json["factor"] = rope.factor;
  if (rope.original_max_position_embeddings > 0) {
    json["original_max_position_embeddings"] = rope.original_max_position_embeddings;
  }
  AddExtra(rope, json);
  return json;
}

nlohmann::ordered_json RopeScaling(const HuggingFaceRope& rope) {
  if (rope.type == kDefault) return nullptr;
  nlohmann::ordered_json json = {{"type", rope.type}, {"factor", rope.factor}};
  AddExtra(rope, json);
  return json;
}

void ApplyRope(const HuggingFaceRope& rope, nlohmann::ordered_json& config) {
  config["rope_theta"] = rope.theta;
  config["rope_scaling"] = RopeScaling(rope);
  config["rope_parameters"] = RopeParameters(rope);
  config["max_position_embeddings"] = rope.max_position_embeddings;
}

}  // namespace longlora::trainer
