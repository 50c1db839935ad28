// Causal attention inside segments, composed of differentiable ATen operations: on CUDA, where
// PyTorch then chooses the kernel (segment_attention.cc says when). Copies where that one uses
// views. Called by SegmentAttention, which has checked the shapes; runs and is tested on every
// device. No state.
#ifndef LONGLORA_WORKER_TRAINER_ATTENTION_COMPOSED_ATTENTION_H_
#define LONGLORA_WORKER_TRAINER_ATTENTION_COMPOSED_ATTENTION_H_

#include <vector>

#include "worker/trainer/attention/segments.h"
#include "worker/trainer/torch.h"

namespace longlora::trainer {

// Shapes, segments and result as SegmentAttention (segment_attention.h).
torch::Tensor ComposedAttention(const torch::Tensor& q, const torch::Tensor& k,
                                const torch::Tensor& v, const std::vector<RowSegments>& segments);

}  // namespace longlora::trainer

#endif  // LONGLORA_WORKER_TRAINER_ATTENTION_COMPOSED_ATTENTION_H_
