// A step of the greatest size before the first real one, so that a job that does not fit into
// memory fails while it is prepared and not hours later. Called once, when everything is loaded.
#ifndef LONGLORA_WORKER_TRAINER_REHEARSAL_H_
#define LONGLORA_WORKER_TRAINER_REHEARSAL_H_

#include <cstdint>

#include "worker/trainer/training_job.h"

namespace longlora::trainer {

// Runs forward and backward of a micro-batch of rows as long as the longest in which every token is
// a target, for each attention pattern the job will use, beside gradients of an earlier micro-batch
// where steps have several, and beside the copy of the state that a checkpoint in the midst of the
// run writes; then, when there is a validation set, a dense forward of its longest row, and the
// longest passkey prompt. AdamW's state exists already and its update needs no memory. Throws what
// LibTorch throws when memory runs out (see failure.h). Changes nothing that training depends on:
// no weights, gradients, random numbers or data position. Returns the peak of the process so far in
// bytes, as DeviceBackend::MemoryPeakBytes.
int64_t Rehearse(const TrainingJob& job);

}  // namespace longlora::trainer

#endif  // LONGLORA_WORKER_TRAINER_REHEARSAL_H_
