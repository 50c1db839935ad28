// Shapes: N tokens of all rows, E hidden size, V vocabulary, C tokens of a chunk.
#include "worker/trainer/loss/chunked_cross_entropy.h"

#include <ATen/Parallel.h>

#include <algorithm>

#include "worker/trainer/loss/cross_entropy_rows.h"

namespace longlora::trainer {
namespace {

using torch::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

struct ChunkResult {
  Tensor losses;       // [C]
  Tensor grad_logits;  // [C, V], only when asked
};

// By ATen's operators, for CUDA and fp64.
ChunkResult PlainChunkLoss(const Tensor& logits, const Tensor& targets, bool want_grad) {
  const torch::ScalarType wide =
      logits.scalar_type() == torch::kFloat64 ? torch::kFloat64 : torch::kFloat32;
  Tensor log_p = at::log_softmax(logits, 1, wide);
  ChunkResult result{log_p.gather(1, targets.unsqueeze(1)).squeeze(1).neg(), Tensor()};
  if (want_grad) {
    log_p.exp_().scatter_add_(1, targets.unsqueeze(1),
                              torch::full({targets.size(0), 1}, -1.0, log_p.options()));
    result.grad_logits = log_p.to(logits.scalar_type());
  }
  return result;
}

// Loss and, in the same pass, its derivative softmax(logits) - onehot(targets). May overwrite
// `logits`.
ChunkResult ChunkLoss(const Tensor& logits, const Tensor& targets, bool want_grad) {
  const bool bf16 = logits.scalar_type() == torch::kBFloat16;
  if (!logits.is_cpu() || !(bf16 || logits.scalar_type() == torch::kFloat32)) {
    return PlainChunkLoss(logits, targets, want_grad);
  }
  const int64_t rows = logits.size(0), vocabulary = logits.size(1);
  TORCH_CHECK(rows == 0 || (targets.min().item<int64_t>() >= 0 &&
                            targets.max().item<int64_t>() < vocabulary),
              "a label lies outside of the vocabulary of ", vocabulary);
  Tensor losses = torch::empty({rows}, torch::kFloat32);
  at::parallel_for(0, rows, /*grain_size=*/1, [&](int64_t begin, int64_t end) {
    CrossEntropyRows(bf16 ? RowType::kBf16 : RowType::kFloat, logits.data_ptr(),
                     targets.const_data_ptr<int64_t>(), vocabulary, begin, end, want_grad,
                     losses.data_ptr<float>());
  });
  return {losses, want_grad ? logits : Tensor()};
}

// grad_head += grad_logits^T hidden, a stripe of the vocabulary at a time: the product, and its
// fp32 form while it is added, would else be one and a half times as large as the gradient itself.
void AddHeadGradient(const Tensor& grad_logits, const Tensor& hidden, Tensor& grad_head) {
  constexpr int64_t kStripe = 8192;
  for (int64_t begin = 0; begin < grad_head.size(0); begin += kStripe) {
    const int64_t end = std::min(begin + kStripe, grad_head.size(0));
    grad_head.slice(0, begin, end) += grad_logits.slice(1, begin, end).t().matmul(hidden);
  }
}

// The gradients are made in forward, while a chunk's logits are at hand, and scaled in backward: no
// product is done twice.
class LossFunction : public torch::autograd::Function<LossFunction> {
 public:
  // hidden: [N, E]; positions: tokens that have a target; targets: [len(positions)].
  static Tensor forward(AutogradContext* ctx, const Tensor& hidden, const Tensor& lm_head,
                        const Tensor& positions, const Tensor& targets, int64_t chunk,
                        bool hidden_grad, bool head_grad) {
    const Tensor weight = lm_head.to(hidden.scalar_type());
    const torch::ScalarType wide =
        hidden.scalar_type() == torch::kFloat64 ? torch::kFloat64 : torch::kFloat32;
    Tensor loss = torch::zeros({}, hidden.options().dtype(wide));
    Tensor grad_hidden = hidden_grad ? torch::zeros_like(hidden) : Tensor();
    Tensor grad_head = head_grad ? torch::zeros_like(lm_head) : Tensor();
    for (int64_t begin = 0; begin < positions.size(0); begin += chunk) {
      const int64_t end = std::min(begin + chunk, positions.size(0));
      const Tensor index = positions.slice(0, begin, end);
      const Tensor part = hidden.index_select(0, index);
      const ChunkResult result = ChunkLoss(part.matmul(weight.t()), targets.slice(0, begin, end),
                                           hidden_grad || head_grad);
      loss += result.losses.sum();
      if (hidden_grad) grad_hidden.index_copy_(0, index, result.grad_logits.matmul(weight));
      if (head_grad) AddHeadGradient(result.grad_logits, part, grad_head);
    }
    ctx->save_for_backward({grad_hidden, grad_head});
    return loss;
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const variable_list saved = ctx->get_saved_variables();
    const auto scaled = [&](const Tensor& t) {
      return t.defined() ? t * grads[0].to(t.scalar_type()) : Tensor();
    };
    return {scaled(saved[0]), scaled(saved[1]), Tensor(), Tensor(), Tensor(), Tensor(), Tensor()};
  }
};

void CheckShapes(const Tensor& hidden, const Tensor& labels, int64_t chunk) {
  TORCH_CHECK(hidden.dim() == 3 && labels.dim() == 2 && hidden.size(0) == labels.size(0) &&
                  hidden.size(1) == labels.size(1),
              "hidden states ", hidden.sizes(), " and labels ", labels.sizes(), " do not fit");
  TORCH_CHECK(chunk > 0, "a chunk of ", chunk, " tokens");
}

// What each token predicts.
struct Targets {
  Tensor positions;  // tokens that have a target, indices into the flattened rows
  Tensor labels;     // of them
};

Targets FindTargets(const Tensor& labels) {
  Tensor next = torch::full_like(labels, kIgnoreLabel);
  next.slice(1, 0, -1).copy_(labels.slice(1, 1));
  next = next.flatten();
  const Tensor positions = next.ne(kIgnoreLabel).nonzero().flatten();
  return {positions, next.index_select(0, positions)};
}

}  // namespace

int64_t CountTargets(const Tensor& labels) {
  return labels.slice(1, 1).ne(kIgnoreLabel).sum().item<int64_t>();
}

LossSum ChunkedCrossEntropy(const Tensor& hidden, const Tensor& lm_head, const Tensor& labels,
                            int64_t chunk) {
  CheckShapes(hidden, labels, chunk);
  const Targets found = FindTargets(labels);
  const bool grad = torch::GradMode::is_enabled();
  return {LossFunction::apply(hidden.flatten(0, 1), lm_head, found.positions, found.labels, chunk,
                              grad && hidden.requires_grad(), grad && lm_head.requires_grad()),
          found.positions.size(0)};
}

TokenLosses ChunkedTokenLosses(const Tensor& hidden, const Tensor& lm_head, const Tensor& labels,
                               int64_t chunk) {
  CheckShapes(hidden, labels, chunk);
  const torch::NoGradGuard no_grad;
  const Targets found = FindTargets(labels);
  const Tensor flat = hidden.flatten(0, 1);
  const Tensor weight = lm_head.to(hidden.scalar_type());
  const int64_t count = found.positions.size(0);
  const torch::ScalarType wide =
      hidden.scalar_type() == torch::kFloat64 ? torch::kFloat64 : torch::kFloat32;
  Tensor losses = torch::empty({count}, hidden.options().dtype(wide));
  for (int64_t begin = 0; begin < count; begin += chunk) {
    const int64_t end = std::min(begin + chunk, count);
    const Tensor part = flat.index_select(0, found.positions.slice(0, begin, end));
    losses.slice(0, begin, end)
        .copy_(ChunkLoss(part.matmul(weight.t()), found.labels.slice(0, begin, end),
                         /*want_grad=*/false)
                   .losses);
  }
  // The token after the one that predicts.
  return {found.positions + 1, losses};
}

}  // namespace longlora::trainer
