// Softmax cross-entropy of rows of logits on the CPU, with its gradient in place of the logits.
// Called by the chunked loss with ranges of rows, so that it can spread them over threads. Pure, no
// torch.
#ifndef LONGLORA_WORKER_TRAINER_LOSS_CROSS_ENTROPY_ROWS_H_
#define LONGLORA_WORKER_TRAINER_LOSS_CROSS_ENTROPY_ROWS_H_

#include <cstdint>

#include "worker/trainer/kernels/cpu_rows.h"

namespace longlora::trainer {

// loss[row] = log(sum(exp(logits))) - logits[target] for rows [begin, end) of `width` logits; with
// `write_grad` the logits are replaced by softmax(logits) - onehot(target). Targets lie in [0,
// width).
void CrossEntropyRows(RowType type, void* logits, const int64_t* targets, int64_t width,
                      int64_t begin, int64_t end, bool write_grad, float* loss);

}  // namespace longlora::trainer

#endif  // LONGLORA_WORKER_TRAINER_LOSS_CROSS_ENTROPY_ROWS_H_
