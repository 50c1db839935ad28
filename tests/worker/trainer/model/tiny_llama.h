// A tiny random Llama for tests: config and weights by seed.
#ifndef LONGLORA_TESTS_WORKER_TRAINER_MODEL_TINY_LLAMA_H_
#define LONGLORA_TESTS_WORKER_TRAINER_MODEL_TINY_LLAMA_H_

#include <map>
#include <string>

#include "worker/trainer/model/llama_model.h"
#include "worker/trainer/torch.h"

namespace longlora::trainer {

inline common::ModelConfig TinyConfig() {
  common::ModelConfig config;
  config.vocab_size = 50;
  config.hidden_size = 24;
  config.intermediate_size = 40;
  config.num_layers = 3;
  config.num_heads = 6;
  config.num_kv_heads = 2;
  config.head_dim = 8;
  config.max_position_embeddings = 64;
  config.original_max_position_embeddings = 64;
  config.rms_norm_eps = 1e-5;
  return config;
}

inline std::map<std::string, torch::Tensor> RandomWeights(const common::ModelConfig& config) {
  torch::manual_seed(11);
  std::map<std::string, torch::Tensor> weights;
  for (const auto& [name, shape] : common::ParameterShapes(config)) {
    weights[name] = torch::randn(shape, torch::kFloat64) * 0.2 + (shape.size() == 1 ? 1.0 : 0.0);
  }
  return weights;
}

// Rows of random tokens, one document each.
inline ModelInput RandomInput(const common::ModelConfig& config, int64_t rows, int64_t tokens,
                              const RowSegments& segments) {
  torch::manual_seed(12);
  return {torch::randint(config.vocab_size, {rows, tokens}, torch::kInt64),
          torch::arange(tokens).expand({rows, tokens}).contiguous(),
          {segments}};
}

}  // namespace longlora::trainer

#endif  // LONGLORA_TESTS_WORKER_TRAINER_MODEL_TINY_LLAMA_H_
