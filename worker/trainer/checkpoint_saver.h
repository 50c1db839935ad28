// Writes checkpoints beside the training, from a copy of the state: the run waits for the copy, not
// for the disk. One at a time. Not thread-safe; rank 0 has one.
#ifndef LONGLORA_WORKER_TRAINER_CHECKPOINT_SAVER_H_
#define LONGLORA_WORKER_TRAINER_CHECKPOINT_SAVER_H_

#include <future>
#include <optional>

#include "absl/status/statusor.h"
#include "common/trainer_protocol/trainer_event.h"
#include "worker/trainer/checkpointing.h"

namespace longlora::trainer {

class CheckpointSaver {
 public:
  // Waits for what is being written.
  ~CheckpointSaver() = default;

  // Begins to write; the save before it must have been taken.
  void Start(StateCopy copy);

  // What the save that Start began came to; nullopt: none was begun, or it is not done yet and
  // `wait` is false. LibTorch's exceptions pass through.
  absl::StatusOr<std::optional<common::CheckpointEvent>> Take(bool wait);

 private:
  std::future<absl::StatusOr<common::CheckpointEvent>> pending_;
};

}  // namespace longlora::trainer

#endif  // LONGLORA_WORKER_TRAINER_CHECKPOINT_SAVER_H_
