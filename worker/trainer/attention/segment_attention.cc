// Shapes: B rows, H query heads, K key/value heads, T tokens, D head size.
#include "worker/trainer/attention/segment_attention.h"

#include <torch/custom_class.h>

#include <algorithm>
#include <functional>
#include <tuple>
#include <utility>

#include "worker/trainer/attention/composed_attention.h"

namespace longlora::trainer {
namespace {

using torch::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// A row of one document has at most three runs, its shifted heads' first and last group.
constexpr size_t kComposedRunsMax = 4;

// One causal kernel call over strided views: rows x segments of a run as the batch, a piece of the
// heads.
struct Call {
  int64_t row_begin;
  int64_t row_end;
  HeadPiece heads;
  SegmentRun run;
};

// All calls of one attention. AutogradContext keeps IValues only, of which a holder is one.
struct Plan : torch::CustomClassHolder {
  std::vector<Call> calls;
};

bool SameForAllRows(const std::vector<RowSegments>& segments) {
  return std::all_of(segments.begin(), segments.end(),
                     [&](const RowSegments& row) { return row == segments.front(); });
}

c10::intrusive_ptr<Plan> MakePlan(const Tensor& q, const Tensor& k,
                                  const std::vector<RowSegments>& segments) {
  const int64_t num_rows = q.size(0), num_heads = q.size(1), num_kv_heads = k.size(1);
  const bool same = SameForAllRows(segments);
  auto plan = c10::make_intrusive<Plan>();
  std::vector<Call>& calls = plan->calls;
  const auto add = [&](int64_t row_begin, int64_t row_end, const Borders& borders, int64_t q_begin,
                       int64_t q_end) {
    for (const SegmentRun& run : SegmentRuns(borders)) {
      // Rows and segments make one batch dimension only where their strides fit together.
      const bool one_batch = run.count == 1 || run.count * run.length == q.size(2);
      for (const HeadPiece& heads : HeadPieces(q_begin, q_end, num_heads, num_kv_heads)) {
        if (one_batch) {
          calls.push_back({row_begin, row_end, heads, run});
        } else {
          for (int64_t row = row_begin; row < row_end; ++row) {
            calls.push_back({row, row + 1, heads, run});
          }
        }
      }
    }
  };
  const auto add_rows = [&](int64_t row_begin, int64_t row_end, const RowSegments& row) {
    if (row.unshifted == row.shifted) {
      add(row_begin, row_end, row.unshifted, 0, num_heads);
    } else {
      add(row_begin, row_end, row.unshifted, 0, num_heads / 2);
      add(row_begin, row_end, row.shifted, num_heads / 2, num_heads);
    }
  };
  if (same) {
    add_rows(0, num_rows, segments.front());
  } else {
    for (int64_t row = 0; row < num_rows; ++row) add_rows(row, row + 1, segments[row]);
  }
  return plan;
}

// [rows, heads, T, D] -> [rows * count, heads, length, D] without a copy.
Tensor View(const Tensor& t, const Call& call, int64_t head_begin, int64_t head_end) {
  const int64_t rows = call.row_end - call.row_begin;
  const SegmentRun& run = call.run;
  const int64_t offset = t.storage_offset() + call.row_begin * t.stride(0) +
                         head_begin * t.stride(1) + run.begin * t.stride(2);
  const int64_t batch_stride = run.count == 1 ? t.stride(0) : run.length * t.stride(2);
  return t.as_strided({rows * run.count, head_end - head_begin, run.length, t.size(3)},
                      {batch_stride, t.stride(1), t.stride(2), 1}, offset);
}

Tensor QueryView(const Tensor& t, const Call& call) {
  return View(t, call, call.heads.q_begin, call.heads.q_end);
}

Tensor KeyView(const Tensor& t, const Call& call) {
  return View(t, call, call.heads.kv_begin, call.heads.kv_end);
}

// View() merges rows and segments only if a row's stride is T token strides, as in [B, T, heads,
// D].
Tensor WithPlainStrides(const Tensor& t) {
  const bool plain = t.stride(3) == 1 && (t.size(0) == 1 || t.stride(0) == t.size(2) * t.stride(2));
  return plain ? t : t.transpose(1, 2).contiguous().transpose(1, 2);
}

Tensor EmptyLike(const Tensor& t) {
  return torch::empty({t.size(0), t.size(2), t.size(1), t.size(3)}, t.options()).transpose(1, 2);
}

Tensor ZerosLike(const Tensor& t) {
  return torch::zeros({t.size(0), t.size(2), t.size(1), t.size(3)}, t.options()).transpose(1, 2);
}

class CpuFunction : public torch::autograd::Function<CpuFunction> {
 public:
  static Tensor forward(AutogradContext* ctx, const Tensor& q_in, const Tensor& k_in,
                        const Tensor& v_in, c10::intrusive_ptr<Plan> plan) {
    const Tensor q = WithPlainStrides(q_in), k = WithPlainStrides(k_in), v = WithPlainStrides(v_in);
    Tensor out = EmptyLike(q);
    variable_list saved = {q, k, v, out};
    for (const Call& call : plan->calls) {
      auto [part, logsumexp] = at::_scaled_dot_product_flash_attention_for_cpu(
          QueryView(q, call), KeyView(k, call), KeyView(v, call), /*dropout_p=*/0.0,
          /*is_causal=*/true);
      QueryView(out, call).copy_(part);
      saved.push_back(std::move(logsumexp));
    }
    ctx->save_for_backward(std::move(saved));
    ctx->saved_data["plan"] = c10::IValue::make_capsule(std::move(plan));
    return out;
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const variable_list saved = ctx->get_saved_variables();
    const Tensor &q = saved[0], &k = saved[1], &v = saved[2], &out = saved[3];
    const Tensor grad_out = WithPlainStrides(grads[0]);
    Tensor grad_q = EmptyLike(q);
    // Pieces of both halves may share a key/value head, so these add up.
    Tensor grad_k = ZerosLike(k), grad_v = ZerosLike(v);
    const auto plan = c10::static_intrusive_pointer_cast<Plan>(ctx->saved_data["plan"].toCapsule());
    for (size_t i = 0; i < plan->calls.size(); ++i) {
      const Call& call = plan->calls[i];
      auto [part_q, part_k, part_v] = at::_scaled_dot_product_flash_attention_for_cpu_backward(
          QueryView(grad_out, call), QueryView(q, call), KeyView(k, call), KeyView(v, call),
          QueryView(out, call), saved[4 + i], /*dropout_p=*/0.0, /*is_causal=*/true);
      QueryView(grad_q, call).copy_(part_q);
      KeyView(grad_k, call).add_(part_k);
      KeyView(grad_v, call).add_(part_v);
    }
    return {grad_q, grad_k, grad_v, Tensor()};
  }
};

// Variable-length flash attention over query heads that share one list of borders per row.
// Differentiable through ATen's own formula. q, k, v: [B * T, heads, D].
Tensor CudaVarlen(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& offsets,
                  int64_t longest) {
  auto result = at::_flash_attention_forward(q, k, v, offsets, offsets, longest, longest,
                                             /*dropout_p=*/0.0, /*is_causal=*/true,
                                             /*return_debug_mask=*/false);
  return std::get<0>(result);
}

Tensor CudaAttention(const Tensor& q, const Tensor& k, const Tensor& v,
                     const std::vector<RowSegments>& segments) {
  const int64_t num_rows = q.size(0), num_heads = q.size(1), num_tokens = q.size(2);
  const auto flat = [&](const Tensor& t, int64_t begin, int64_t end) {
    return t.transpose(1, 2)
        .reshape({num_rows * num_tokens, t.size(1), t.size(3)})
        .slice(1, begin, end);
  };
  std::vector<Tensor> parts;
  const auto half = [&](const Borders RowSegments::* borders, int64_t q_begin, int64_t q_end) {
    std::vector<int32_t> offsets = {0};
    int64_t longest = 0;
    for (int64_t row = 0; row < num_rows; ++row) {
      const Borders& cut = segments[segments.size() == 1 ? 0 : row].*borders;
      for (size_t i = 1; i < cut.size(); ++i) {
        offsets.push_back(static_cast<int32_t>(row * num_tokens + cut[i]));
        longest = std::max(longest, cut[i] - cut[i - 1]);
      }
    }
    const Tensor on_device = torch::tensor(offsets, torch::kInt32).to(q.device());
    for (const HeadPiece& p : HeadPieces(q_begin, q_end, num_heads, k.size(1))) {
      parts.push_back(CudaVarlen(flat(q, p.q_begin, p.q_end), flat(k, p.kv_begin, p.kv_end),
                                 flat(v, p.kv_begin, p.kv_end), on_device, longest));
    }
  };
  const bool dense = std::all_of(segments.begin(), segments.end(), [](const RowSegments& row) {
    return row.unshifted == row.shifted;
  });
  half(&RowSegments::unshifted, 0, dense ? num_heads : num_heads / 2);
  if (!dense) half(&RowSegments::shifted, num_heads / 2, num_heads);
  return torch::cat(parts, 1).view({num_rows, num_tokens, num_heads, q.size(3)}).transpose(1, 2);
}

// Of a row and a half of the heads.
size_t MostRuns(const std::vector<RowSegments>& segments) {
  size_t most = 0;
  for (const RowSegments& row : segments) {
    most = std::max({most, SegmentRuns(row.unshifted).size(), SegmentRuns(row.shifted).size()});
  }
  return most;
}

void CheckShapes(const Tensor& q, const Tensor& k, const Tensor& v,
                 const std::vector<RowSegments>& segments) {
  TORCH_CHECK(q.dim() == 4 && k.dim() == 4 && v.sizes() == k.sizes(),
              "attention takes [B, H, T, D]");
  TORCH_CHECK(q.size(0) == k.size(0) && q.size(2) == k.size(2) && q.size(3) == k.size(3),
              "queries ", q.sizes(), " and keys ", k.sizes(), " do not fit together");
  TORCH_CHECK(q.size(1) % k.size(1) == 0, q.size(1), " query heads cannot share ", k.size(1),
              " key/value heads evenly");
  TORCH_CHECK(segments.size() == 1 || static_cast<int64_t>(segments.size()) == q.size(0),
              segments.size(), " rows of segments for ", q.size(0), " rows");
  for (const RowSegments& row : segments) {
    for (const Borders* borders : {&row.unshifted, &row.shifted}) {
      TORCH_CHECK(borders->size() >= 2 && borders->front() == 0 && borders->back() == q.size(2) &&
                      std::is_sorted(borders->begin(), borders->end(), std::less_equal<int64_t>()),
                  "segments must rise from 0 to the row's length ", q.size(2));
    }
  }
}

}  // namespace

torch::Tensor SegmentAttention(const torch::Tensor& q, const torch::Tensor& k,
                               const torch::Tensor& v, const std::vector<RowSegments>& segments) {
  CheckShapes(q, k, v, segments);
  if (q.is_cuda()) {
    const bool half = q.scalar_type() == torch::kBFloat16 || q.scalar_type() == torch::kHalf;
    // Flash attention of variable lengths has no kernel for fp32, and where there are but a few
    // runs, as in rows of one document, the kernel that PyTorch chooses is faster on a new GPU.
    return half && MostRuns(segments) > kComposedRunsMax ? CudaAttention(q, k, v, segments)
                                                         : ComposedAttention(q, k, v, segments);
  }
  return CpuFunction::apply(q, k, v, MakePlan(q, k, segments));
}

}  // namespace longlora::trainer
