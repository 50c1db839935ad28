// Shapes: B rows, h query heads of a piece, T tokens, D head size.
#include "worker/trainer/attention/composed_attention.h"

#include <ATen/ops/scaled_dot_product_attention.h>

namespace longlora::trainer {
namespace {

using torch::Tensor;

Tensor Join(const std::vector<Tensor>& parts, int64_t dimension) {
  return parts.size() == 1 ? parts.front() : torch::cat(parts, dimension);
}

// [B, h, run.count * run.length, D] -> [B * run.count, h, run.length, D]
Tensor Fold(const Tensor& t, const SegmentRun& run) {
  return t.narrow(2, run.begin, run.count * run.length)
      .unflatten(2, {run.count, run.length})
      .transpose(1, 2)
      .flatten(0, 1);
}

// One run of equal segments. q, k, v: [B, h, T, D], heads already paired.
Tensor AttendRun(const Tensor& q, const Tensor& k, const Tensor& v, const SegmentRun& run) {
  return at::scaled_dot_product_attention(Fold(q, run), Fold(k, run), Fold(v, run),
                                          /*attn_mask=*/{}, /*dropout_p=*/0.0, /*is_causal=*/true)
      .unflatten(0, {q.size(0), run.count})
      .transpose(1, 2)
      .flatten(2, 3);
}

// Query heads [q_begin, q_end) of rows that share `borders`.
Tensor AttendHeads(const Tensor& q, const Tensor& k, const Tensor& v, const Borders& borders,
                   int64_t q_begin, int64_t q_end) {
  std::vector<Tensor> pieces;
  for (const HeadPiece& piece : HeadPieces(q_begin, q_end, q.size(1), k.size(1))) {
    const int64_t share = (piece.q_end - piece.q_begin) / (piece.kv_end - piece.kv_begin);
    const auto paired = [&](const Tensor& t) {
      const Tensor own = t.slice(1, piece.kv_begin, piece.kv_end);
      return share == 1 ? own : own.repeat_interleave(share, 1);
    };
    const Tensor q_piece = q.slice(1, piece.q_begin, piece.q_end);
    const Tensor k_piece = paired(k), v_piece = paired(v);
    std::vector<Tensor> runs;
    for (const SegmentRun& run : SegmentRuns(borders)) {
      runs.push_back(AttendRun(q_piece, k_piece, v_piece, run));
    }
    pieces.push_back(Join(runs, 2));
  }
  return Join(pieces, 1);
}

Tensor AttendRows(const Tensor& q, const Tensor& k, const Tensor& v, const RowSegments& segments) {
  const int64_t num_heads = q.size(1), half = num_heads / 2;
  if (half == 0 || segments.unshifted == segments.shifted) {
    return AttendHeads(q, k, v, segments.shifted, 0, num_heads);
  }
  return torch::cat({AttendHeads(q, k, v, segments.unshifted, 0, half),
                     AttendHeads(q, k, v, segments.shifted, half, num_heads)},
                    1);
}

}  // namespace

Tensor ComposedAttention(const Tensor& q, const Tensor& k, const Tensor& v,
                         const std::vector<RowSegments>& segments) {
  if (segments.size() == 1) return AttendRows(q, k, v, segments.front());
  std::vector<Tensor> rows;
  for (int64_t row = 0; row < q.size(0); ++row) {
    rows.push_back(
        AttendRows(q.narrow(0, row, 1), k.narrow(0, row, 1), v.narrow(0, row, 1), segments[row]));
  }
  return torch::cat(rows, 0);
}

}  // namespace longlora::trainer
