// Keys and values of the tokens a model has read, so that each token after them costs one token's
// work. Filled and read by LlamaModel::Extend, for inference: no gradients. Not thread-safe.
// Shapes: H query heads, K key/value heads, T tokens, D head size.
#ifndef LONGLORA_WORKER_TRAINER_MODEL_KV_CACHE_H_
#define LONGLORA_WORKER_TRAINER_MODEL_KV_CACHE_H_

#include <cstdint>
#include <vector>

#include "common/base_model/model_config.h"
#include "worker/trainer/torch.h"

namespace longlora::trainer {

class KvCache {
 public:
  // Room for `capacity` tokens, taken at once: 2 * layers * K * D numbers each. `options`: device
  // and compute dtype of the model.
  KvCache(const common::ModelConfig& config, int64_t capacity, const torch::TensorOptions& options);

  // Tokens read so far.
  int64_t length() const { return length_; }

  // Dense attention of one layer for the T tokens that follow the first length(): keeps k and v
  // (k already turned) and lets each query see all tokens up to its own. q: [1, H, T, D]; k, v:
  // [1, K, T, D]; the result is as q. T is 1 unless the cache is empty, and no more than there is
  // room for.
  torch::Tensor Attend(int64_t layer, const torch::Tensor& q, const torch::Tensor& k,
                       const torch::Tensor& v);

  // Every layer has attended for `tokens` further ones.
  void Advance(int64_t tokens) { length_ += tokens; }

 private:
  // [1, capacity, K, D] a layer: heads are shared as in the model, not expanded.
  std::vector<torch::Tensor> keys_;
  std::vector<torch::Tensor> values_;
  int64_t length_ = 0;
};

}  // namespace longlora::trainer

#endif  // LONGLORA_WORKER_TRAINER_MODEL_KV_CACHE_H_
