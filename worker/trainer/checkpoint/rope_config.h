// RoPE scaling as Hugging Face config.json has it (model/ computes with its own RotaryConfig): in
// transformers 5 under "rope_parameters", in transformers 4 under "rope_scaling" and
// "rope_theta". Pure functions; the exports call them.
#ifndef LONGLORA_WORKER_TRAINER_CHECKPOINT_ROPE_CONFIG_H_
#define LONGLORA_WORKER_TRAINER_CHECKPOINT_ROPE_CONFIG_H_

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>

namespace longlora::trainer {

struct HuggingFaceRope {
  std::string type = "default";  // "default", "linear", ... as transformers names them
  double theta = 10000.0;
  double factor = 1.0;                           // not written for "default"
  double partial_factor = 1.0;                   // partial_rotary_factor; 1: not written
  int64_t max_position_embeddings = 0;           // tokens the model now serves
  int64_t original_max_position_embeddings = 0;  // before scaling; 0: not written
  // Further keys of the type ("low_freq_factor"), copied as they are.
  nlohmann::ordered_json extra = nlohmann::ordered_json::object();
};

// {"rope_type", "rope_theta", "factor", ...}: transformers 5.
nlohmann::ordered_json RopeParameters(const HuggingFaceRope& rope);

// {"type", "factor", ...}: transformers 4; null for "default". No other key than it allowed: these
// two for "linear" and "dynamic", and for "longrope" type and lists (Phi-3 refuses a fourth key, so
// one is only there when the numbers need it).
nlohmann::ordered_json RopeScaling(const HuggingFaceRope& rope);

// What a user has to change in the base model's config before loading an adapter, because PEFT has
// no field for it: the content of rope_scaling.json.
nlohmann::ordered_json RopeNote(const HuggingFaceRope& rope);

// Puts `rope` into a config.json in both spellings, replacing what is there; other keys keep their
// place.
void ApplyRope(const HuggingFaceRope& rope, nlohmann::ordered_json& config);

}  // namespace longlora::trainer

#endif  // LONGLORA_WORKER_TRAINER_CHECKPOINT_ROPE_CONFIG_H_
