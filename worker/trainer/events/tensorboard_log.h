// A TensorBoard event file: the figures of a run, step by step, for `tensorboard --logdir`. Written
// by hand, because the trainer links no protobuf: a file is a sequence of TFRecords (length, masked
// CRC-32C of the length, data, masked CRC-32C of the data), each a tensorflow.Event of
// tensorflow/core/util/event.proto. Not thread-safe.
#ifndef LONGLORA_WORKER_TRAINER_EVENTS_TENSORBOARD_LOG_H_
#define LONGLORA_WORKER_TRAINER_EVENTS_TENSORBOARD_LOG_H_

#include <cstdint>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "common/time/clock.h"
#include "common/trainer_protocol/trainer_event.h"

namespace longlora::trainer {

// Below an output directory, and below an adapter. TensorBoard looks for "tfevents" in the names.
inline constexpr char kTensorBoardFile[] = "tensorboard/events.out.tfevents.longlora";

class TensorBoardLog {
 public:
  // Appends to `path`, which the first record makes.
  TensorBoardLog(std::string path, common::Clock& clock) : path_(std::move(path)), clock_(clock) {}

  // Appends what `body` says of the run: train/loss, train/learning_rate, train/grad_norm,
  // train/tokens_per_second of a step, and validation/... of an evaluation. Others say nothing
  // here. Reaches the operating system before it returns, not the disk.
  absl::Status Add(const decltype(common::TrainerEvent::body)& body);

 private:
  absl::Status Append(const std::string& record);

  const std::string path_;
  common::Clock& clock_;
};

}  // namespace longlora::trainer

#endif  // LONGLORA_WORKER_TRAINER_EVENTS_TENSORBOARD_LOG_H_
