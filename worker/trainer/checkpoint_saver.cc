#include "worker/trainer/checkpoint_saver.h"

#include <chrono>
#include <utility>

#include "common/status/status_macros.h"

namespace longlora::trainer {

void CheckpointSaver::Start(StateCopy copy) {
  // std::async's future waits in its destructor, so that no exit of the trainer cuts a save short.
  pending_ =
      std::async(std::launch::async, [copy = std::move(copy)] { return WriteCheckpoint(copy); });
}

absl::StatusOr<std::optional<common::CheckpointEvent>> CheckpointSaver::Take(bool wait) {
  if (!pending_.valid() ||
      (!wait && pending_.wait_for(std::chrono::seconds(0)) != std::future_status::ready)) {
    return std::optional<common::CheckpointEvent>();
  }
  LONGLORA_ASSIGN_OR_RETURN(common::CheckpointEvent event, pending_.get());
  return std::optional<common::CheckpointEvent>(std::move(event));
}

}  // namespace longlora::trainer
