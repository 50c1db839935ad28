#include "worker/trainer/checkpoint/rope_config.h"

namespace longlora::trainer {
namespace {

constexpr char kDefault[] = "default";
constexpr char kLongRope[] = "longrope";
constexpr char kOriginal[] = "original_max_position_embeddings";

void AddExtra(const HuggingFaceRope& rope, nlohmann::ordered_json& json) {
  for (const auto& [key, value] : rope.extra.items()) json[key] = value;
}

// The kinds that compute with the original length.
bool NeedsOriginal(const HuggingFaceRope& rope) {
  return rope.type == "yarn" || rope.type == "llama3" || rope.type == kLongRope;
}

}  // namespace

nlohmann::ordered_json RopeParameters(const HuggingFaceRope& rope) {
  nlohmann::ordered_json json = {{"rope_type", rope.type}, {"rope_theta", rope.theta}};
  if (rope.partial_factor != 1.0) json["partial_rotary_factor"] = rope.partial_factor;
  if (rope.type == kDefault) return json;
  json["factor"] = rope.factor;
  if (rope.original_max_position_embeddings > 0) {
    json[kOriginal] = rope.original_max_position_embeddings;
  }
  AddExtra(rope, json);
  return json;
}

nlohmann::ordered_json RopeScaling(const HuggingFaceRope& rope) {
  if (rope.type == kDefault) return nullptr;
  if (rope.type == kLongRope) {
    nlohmann::ordered_json json = {{"type", rope.type}};
    AddExtra(rope, json);
    return json;
  }
  // Kinds that came with the new name of the key are looked for under it.
  nlohmann::ordered_json json = {{NeedsOriginal(rope) ? "rope_type" : "type", rope.type},
                                 {"factor", rope.factor}};
  if (NeedsOriginal(rope)) json[kOriginal] = rope.original_max_position_embeddings;
  AddExtra(rope, json);
  return json;
}

nlohmann::ordered_json RopeNote(const HuggingFaceRope& rope) {
  // transformers warns of the original length beside a linear scaling: here it stands apart.
  HuggingFaceRope loaded = rope;
  if (rope.type == "linear") loaded.original_max_position_embeddings = 0;
  nlohmann::ordered_json note = {{"rope_parameters", RopeParameters(loaded)},
                                 {"rope_scaling", RopeScaling(loaded)},
                                 {"max_position_embeddings", rope.max_position_embeddings}};
  if (rope.original_max_position_embeddings > 0) {
    note[kOriginal] = rope.original_max_position_embeddings;
  }
  return note;
}

void ApplyRope(const HuggingFaceRope& rope, nlohmann::ordered_json& config) {
  config["rope_theta"] = rope.theta;
  config["rope_scaling"] = RopeScaling(rope);
  config["rope_parameters"] = RopeParameters(rope);
  config["max_position_embeddings"] = rope.max_position_embeddings;
  if (rope.partial_factor != 1.0) config["partial_rotary_factor"] = rope.partial_factor;
  // At the top level it counts before the one inside; longrope has room for it only here.
  if (rope.type == kLongRope || (NeedsOriginal(rope) && config.contains(kOriginal))) {
    config[kOriginal] = rope.original_max_position_embeddings;
  }
}

}  // namespace longlora::trainer
