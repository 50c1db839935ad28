#include "worker/trainer/model/greedy_decode.h"

#include "worker/trainer/model/kv_cache.h"

namespace longlora::trainer {

using torch::Tensor;

std::vector<int64_t> GreedyDecode(const LlamaModel& model, const std::vector<int64_t>& prompt,
                                  int64_t num_tokens) {
  const torch::NoGradGuard no_grad;
  const torch::TensorOptions options =
      torch::device(model.options().device).dtype(model.options().dtype);
  // The last token is not read again.
  KvCache cache(model.config(), static_cast<int64_t>(prompt.size()) + num_tokens - 1, options);
  const Tensor head = model.lm_head().to(model.options().dtype).t();
  Tensor next = torch::tensor(prompt, torch::kInt64).unsqueeze(0).to(model.options().device);
  std::vector<int64_t> decoded;
  while (static_cast<int64_t>(decoded.size()) < num_tokens) {
    next = model.Extend(next, cache).matmul(head).argmax(-1, /*keepdim=*/true);
    decoded.push_back(next.item<int64_t>());
  }
  return decoded;
}

}  // namespace longlora::trainer
