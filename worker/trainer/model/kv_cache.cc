#include "worker/trainer/model/kv_cache.h"

#include <ATen/ops/scaled_dot_product_attention.h>

#include "worker/trainer/attention/segment_attention.h"

namespace longlora::trainer {

using torch::Tensor;

KvCache::KvCache(const common::ModelConfig& config, int64_t capacity,
                 const torch::TensorOptions& options) {
  for (int64_t i = 0; i < config.num_layers; ++i) {
    for (std::vector<Tensor>* kept : {&keys_, &values_}) {
      kept->push_back(torch::empty({1, capacity, config.num_kv_heads, config.head_dim}, options));
    }
  }
}

Tensor KvCache::Attend(int64_t layer, const Tensor& q, const Tensor& k, const Tensor& v) {
  const int64_t tokens = q.size(2), end = length_ + tokens;
  TORCH_CHECK(tokens == 1 || length_ == 0, "several tokens can only be the first ones");
  // Puts the new tokens behind the others, and gives all of them: [1, K, end, D], a view.
  const auto append = [&](const Tensor& kept, const Tensor& added) {
    kept.narrow(1, length_, tokens).copy_(added.transpose(1, 2));
    return kept.narrow(1, 0, end).transpose(1, 2);
  };
  const Tensor keys = append(keys_[layer], k), values = append(values_[layer], v);
  if (tokens > 1) return SegmentAttention(q, keys, values, {DenseSegments({0, end})});
  // One token sees everything, so the query heads of a key/value head go as if they were tokens.
  const Tensor shared = q.reshape({1, k.size(1), q.size(1) / k.size(1), q.size(3)});
  return at::scaled_dot_product_attention(shared, keys, values).reshape(q.sizes());
}

}  // namespace longlora::trainer
