// Saves a job's state and goes on from it, bit-equal. The durable files are checkpoint/'s work;
// this says what goes into them, and proves at resume that it is the same job. Called by the loop
// on every rank; rank 0 writes.
#ifndef LONGLORA_WORKER_TRAINER_CHECKPOINTING_H_
#define LONGLORA_WORKER_TRAINER_CHECKPOINTING_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/trainer_protocol/trainer_event.h"
#include "worker/trainer/checkpoint/adapter_export.h"
#include "worker/trainer/checkpoint/checkpoint_store.h"
#include "worker/trainer/training_job.h"

namespace longlora::trainer {

// The folder of checkpoints inside an output directory.
inline constexpr char kCheckpointFolder[] = "checkpoints";

// SHA-256 of those keys of a spec that decide how training goes on: without names, paths, priority,
// intervals and export, which may change between attempts. Paths may because the witness loss
// guards model and data.
std::string ResumeDigest(const common::TrainSpec& spec);

// A job's state at one step, apart from the job, which may train on.
struct StateCopy {
  Checkpoint checkpoint;
  AdapterExport adapter;
  CheckpointStore store;
  bool best = false;  // of the lowest validation loss so far, where checkpoint.keep_best asks
};

// Only rank 0 calls it; the others wait for it in the next exchange. Where export.weights needs the
// best weights, later checkpoints carry a copy of them, because another worker that resumes has the
// newest checkpoint only.
absl::StatusOr<StateCopy> CopyState(TrainingJob& job);

// Writes checkpoints/step-N with an adapter in it. Older checkpoints than checkpoint.keep_last are
// removed, but that of the best weights. Any thread may call it; one call at a time.
absl::StatusOr<common::CheckpointEvent> WriteCheckpoint(const StateCopy& copy);

// Puts the weights of the lowest validation loss (checkpoint.keep_best) into job.trained and their
// step into job.exported_step, for the export; nothing happens when they are there already. Only
// rank 0 calls it. DATA_LOSS when their checkpoint was lost.
absl::Status TakeBestWeights(TrainingJob& job);

// Without options.resume: refuses an output directory that already holds checkpoints. With it: puts
// `job` where the newest complete checkpoint was (job.step stays 0 when there is none), the same
// one on all ranks, and recomputes the witness: the training loss at the start of a row, stored
// from the same weights when they were saved. A loss that differs beyond rounding, another spec
// digest or another number of ranks is RESUME_MISMATCH; a difference within rounding (another kind
// of processor) is a warning, because the run then goes on correctly, but not bit-equal. Damaged
// newer checkpoints become warnings too.
absl::Status PrepareStart(TrainingJob& job);

}  // namespace longlora::trainer

#endif  // LONGLORA_WORKER_TRAINER_CHECKPOINTING_H_
