// Reads the spec a trainer was started with.
#ifndef LONGLORA_WORKER_TRAINER_SPEC_FILE_H_
#define LONGLORA_WORKER_TRAINER_SPEC_FILE_H_

#include <string>

#include "absl/status/statusor.h"
#include "common/trainer_protocol/train_spec.h"

namespace longlora::trainer {

// Parses and checks the JSON file. Every error is INVALID_SPEC and names the key.
absl::StatusOr<common::TrainSpec> ReadSpecFile(const std::string& path);

}  // namespace longlora::trainer

#endif  // LONGLORA_WORKER_TRAINER_SPEC_FILE_H_
