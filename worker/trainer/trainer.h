// The training loop: evaluate, checkpoint, step, until the job is done or asked to stop, then
// export. Called by main; one job a process, not thread-safe. Says what happens through an
// EventWriter.
#ifndef LONGLORA_WORKER_TRAINER_TRAINER_H_
#define LONGLORA_WORKER_TRAINER_TRAINER_H_

#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "common/time/clock.h"
#include "common/trainer_protocol/exit_code.h"
#include "worker/trainer/checkpoint_saver.h"
#include "worker/trainer/events/event_writer.h"
#include "worker/trainer/events/tensorboard_log.h"
#include "worker/trainer/train_step.h"
#include "worker/trainer/training_job.h"

namespace longlora::trainer {

class Trainer {
 public:
  Trainer(TrainerOptions options, EventWriter& events, common::Clock& clock)
      : options_(std::move(options)),
        events_(events),
        clock_(clock),
        log_(options_.output_directory + "/" + kTensorBoardFile, clock) {}

  // kSucceeded, or kStopped after SIGTERM. Errors carry their reason (failure.h) and are not yet
  // written as events. LibTorch's exceptions pass through.
  absl::StatusOr<common::ExitCode> Run();

 private:
  absl::Status Prepare();
  // Trains until all steps are done (true) or a stop was agreed on and a checkpoint lies (false).
  absl::StatusOr<bool> Loop();
  absl::Status EvaluateIfDue();
  // Writes the event, and what it says for TensorBoard. A log that cannot be written is given up
  // with a warning: the run is worth more.
  absl::Status Tell(const decltype(common::TrainerEvent::body)& body);
  // evaluation.patience is used up.
  bool EarlyStopDue() const;
  std::string WhyEarlyStop() const;
  bool CheckpointDue() const;
  // Copies the state; the copy is written while the training goes on.
  absl::Status Checkpoint();
  // Tells of the checkpoint that was being written: when it is done, or waits for it.
  absl::Status TellSaved(bool wait);
  absl::Status Step();
  // Warns of a skipped step; NON_FINITE when too many came in a row.
  absl::Status TellSkipped(const StepResult& result);
  absl::Status Export();

  const TrainerOptions options_;
  EventWriter& events_;
  common::Clock& clock_;
  TensorBoardLog log_;
  bool log_works_ = true;
  std::unique_ptr<TrainingJob> job_;
  int64_t saved_step_ = 0;          // updates in the newest checkpoint
  absl::Duration checkpoint_time_;  // that the loop waited for checkpoints since the last step
  CheckpointSaver saver_;
};

}  // namespace longlora::trainer

#endif  // LONGLORA_WORKER_TRAINER_TRAINER_H_
