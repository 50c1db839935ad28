// What common/memory tells of a job, for people and programs: `--estimate`, and the explanation of
// a job that ran out of memory. Reads the base model's config.json, never its weights.
#ifndef LONGLORA_WORKER_TRAINER_MEMORY_REPORT_H_
#define LONGLORA_WORKER_TRAINER_MEMORY_REPORT_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/trainer_protocol/train_spec.h"

namespace longlora::trainer {

// The peak of a rank of `spec` on this machine, as one JSON object:
// {"moment":…,"total_bytes":…,"ranks":…,"components":[{"name":…,"bytes":…,"description":…}]}
// `model_directory` as in FindBaseModel. Errors are MODEL_INVALID, or INVALID_SPEC where spec and
// model do not go together.
absl::StatusOr<std::string> EstimateReport(const common::TrainSpec& spec,
                                           const std::string& model_directory);

// An OUT_OF_MEMORY `status` with the estimate and its largest components; any other as it is.
absl::Status ExplainOutOfMemory(absl::Status status, const common::TrainSpec& spec,
                                const std::string& model_directory);

}  // namespace longlora::trainer

#endif  // LONGLORA_WORKER_TRAINER_MEMORY_REPORT_H_
