// What a LongLoRA job has trained, as plain maps: the currency between the trainer and the exports.
#ifndef LONGLORA_WORKER_TRAINER_CHECKPOINT_LORA_WEIGHTS_H_
#define LONGLORA_WORKER_TRAINER_CHECKPOINT_LORA_WEIGHTS_H_

#include <ATen/core/Tensor.h>

#include <map>
#include <string>

#include "worker/trainer/checkpoint/safetensors.h"

namespace longlora::trainer {

struct LoraPair {
  at::Tensor a;  // [rank, in_features]
  at::Tensor b;  // [out_features, rank]
};

struct LoraWeights {
  // By module path in the Hugging Face model: "model.layers.0.self_attn.q_proj".
  std::map<std::string, LoraPair> lora;
  // Fully trained parameters by their Hugging Face name: "model.embed_tokens.weight",
  // "model.norm.weight". With tied embeddings only the embedding is listed, never "lm_head.weight".
  TensorMap trained;
};

}  // namespace longlora::trainer

#endif  // LONGLORA_WORKER_TRAINER_CHECKPOINT_LORA_WEIGHTS_H_
