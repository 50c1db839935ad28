// Finds and loads the base model of a job, and puts on it what the job trains. Part of SetUpJob.
#ifndef LONGLORA_WORKER_TRAINER_BASE_MODEL_H_
#define LONGLORA_WORKER_TRAINER_BASE_MODEL_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "worker/trainer/training_job.h"

namespace longlora::trainer {

// The directory `base_model` means: a name below `model_directory`, else a path. Names come first,
// so that a folder of the same name where the process happens to run changes nothing. NOT_FOUND
// says where was looked.
absl::StatusOr<std::string> FindBaseModel(const std::string& base_model,
                                          const std::string& model_directory);

// The model whose safetensors files lie in `directory`.
absl::StatusOr<std::unique_ptr<LlamaModel>> ReadModelFiles(const std::string& directory,
                                                           const common::ModelConfig& config,
                                                           const ModelOptions& options);

// Copies a PEFT adapter over what `job` trains. Returns the parameters that the job trains and the
// adapter does not hold; they keep their values. Errors as ImportAdapter's.
absl::StatusOr<std::vector<std::string>> LoadAdapter(const std::string& directory,
                                                     TrainingJob& job);

// Fills job.base_directory and job.model.
absl::Status LoadBaseModel(TrainingJob& job);

// Injects LoRA, copies method.initial_adapter over the fresh values, and makes the optimizer: fills
// job.lora, job.trained and job.optimizer.
absl::Status AddTrainedParameters(TrainingJob& job);

}  // namespace longlora::trainer

#endif  // LONGLORA_WORKER_TRAINER_BASE_MODEL_H_
