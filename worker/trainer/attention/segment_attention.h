// Causal softmax attention inside segments, with gradients. The one place that calls ATen's
// underscored attention kernels: flash on CPU over strided views, variable-length flash on CUDA
// (which no test has run yet: no GPU was at hand). Called by the model's attention block.
// Thread-safe: no state.
#ifndef LONGLORA_WORKER_TRAINER_ATTENTION_SEGMENT_ATTENTION_H_
#define LONGLORA_WORKER_TRAINER_ATTENTION_SEGMENT_ATTENTION_H_

#include <vector>

#include "worker/trainer/attention/segments.h"
#include "worker/trainer/torch.h"

namespace longlora::trainer {

// q: [B, Hq, T, D]; k, v: [B, Hkv, T, D], Hq a multiple of Hkv, last stride 1, else any strides
// (the model passes transposed views). `segments` holds one entry for all rows, or B entries; their
// borders end at T. Returns [B, Hq, T, D], a view of a contiguous [B, T, Hq, D]; the scale is 1 /
// sqrt(D). Differentiable once, in q, k and v. Violated shapes are bugs of the caller and throw
// c10::Error.
torch::Tensor SegmentAttention(const torch::Tensor& q, const torch::Tensor& k,
                               const torch::Tensor& v, const std::vector<RowSegments>& segments);

}  // namespace longlora::trainer

#endif  // LONGLORA_WORKER_TRAINER_ATTENTION_SEGMENT_ATTENTION_H_
