// Everything a running job consists of, and how it is put together from a spec: devices and ranks,
// model, LoRA, data, optimizer. Plain data for the loop in trainer.h and its steps. Not
// thread-safe.
#ifndef LONGLORA_WORKER_TRAINER_TRAINING_JOB_H_
#define LONGLORA_WORKER_TRAINER_TRAINING_JOB_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/trainer_protocol/train_spec.h"
#include "worker/trainer/checkpoint/safetensors.h"
#include "worker/trainer/data/row_dataset.h"
#include "worker/trainer/data/row_sampler.h"
#include "worker/trainer/distributed/process_group.h"
#include "worker/trainer/distributed/rank_environment.h"
#include "worker/trainer/kernels/device_backend.h"
#include "worker/trainer/lora/lora.h"
#include "worker/trainer/model/llama_model.h"
#include "worker/trainer/optimizer/adamw.h"
#include "worker/trainer/passkey.h"
#include "worker/trainer/validation_record.h"

namespace longlora::trainer {

struct TrainerOptions {
  common::TrainSpec spec;        // checked by CheckTrainSpec
  std::string output_directory;  // adapter/, checkpoints/, merged/ are made in it
  std::string model_directory;   // where base_model is looked up by name; may be empty
  std::string cache_directory;   // tokens of datasets, for later runs and other ranks; not empty
  bool resume = false;           // go on from the newest complete checkpoint, if there is one
  RankEnvironment environment;
};

struct TrainingJob {
  TrainerOptions options;
  std::string base_directory;  // of the base model

  std::unique_ptr<DeviceBackend> backend;
  std::unique_ptr<ProcessGroup> group;
  std::unique_ptr<LlamaModel> model;
  std::vector<std::shared_ptr<LoraModule>> lora;
  std::shared_ptr<LoraDropout> dropout;  // null: none
  std::vector<Parameter> trained;        // what the optimizer updates, in its order
  std::unique_ptr<AdamW> optimizer;
  std::unique_ptr<RowDataset> training;
  std::unique_ptr<RowDataset> validation;  // null: no evaluation
  std::unique_ptr<RowSampler> sampler;     // of this rank
  std::vector<PasskeyPrompt> passkey_prompts;
  int64_t total_steps = 0;

  int64_t step = 0;                  // updates done
  int64_t evaluated_step = -1;       // updates done at the last evaluation; -1: none yet
  std::optional<double> first_loss;  // of the first step that was not skipped
  double last_loss = 0.0;            // of the last such step
  int64_t skipped_in_a_row = 0;      // steps without an update, up to the present one
  int64_t skipped_steps = 0;         // of the whole job
  ValidationRecord validation_record;
  // Trained weights of validation_record.best_step by name, where export.weights asks for them and
  // this step's are others; they look into a checkpoint's file. Empty until needed. Of rank 0.
  TensorMap best_weights;
  // Updates in `trained` once the loop is done and they were replaced by the best ones.
  std::optional<int64_t> exported_step;
  std::vector<std::string> warnings;  // what the user should know before the first step

  const common::TrainSpec& spec() const { return options.spec; }
  torch::Device device() const { return backend->device(); }
};

// Meets the peers, then loads model, data and initial adapter. Errors carry their reason: see
// failure.h.
absl::StatusOr<std::unique_ptr<TrainingJob>> SetUpJob(const TrainerOptions& options);

}  // namespace longlora::trainer

#endif  // LONGLORA_WORKER_TRAINER_TRAINING_JOB_H_
