// The element-wise work of a layer on the CPU, each as one pass over memory in fp32 registers,
// compiled for several instruction sets and chosen at run time. Called by rms_norm, rope and loss/
// with ranges of rows, so that the caller can spread them over threads. Pure functions over plain
// memory; no torch.
#ifndef LONGLORA_WORKER_TRAINER_MODEL_LAYER_ROWS_H_
#define LONGLORA_WORKER_TRAINER_MODEL_LAYER_ROWS_H_

#include <cstdint>

#include "worker/trainer/kernels/cpu_rows.h"

namespace longlora::trainer {

// y = x * scale * weight with scale = 1 / sqrt(mean(x^2) + eps), for rows [begin, end) of `width`
// elements. Also writes scale, one a row.
void RmsNormForward(RowType type, const void* x, const float* weight, float eps, int64_t width,
                    int64_t begin, int64_t end, void* y, float* scale);

// Its gradients. `grad_x` and `grad_weight` may be null; grad_weight [width] is added to.
void RmsNormBackward(RowType type, const void* grad, const void* x, const float* weight,
                     const float* scale, int64_t width, int64_t begin, int64_t end, void* grad_x,
                     float* grad_weight);

// Rotates the halves of every head of tokens [begin, end): x and y are [tokens, heads, 2 * half],
// cos and sin [tokens, half]. `direction` 1 turns forward, -1 back.
void Rotate(RowType type, const void* x, const float* cos, const float* sin, float direction,
            int64_t heads, int64_t half, int64_t begin, int64_t end, void* y);

}  // namespace longlora::trainer

#endif  // LONGLORA_WORKER_TRAINER_MODEL_LAYER_ROWS_H_
