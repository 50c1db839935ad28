// What a job must be before the scheduler sees it: a possible spec whose dataset files are stored
// and readable. Whether some worker can run it is the scheduler's to say. Used by FineTuneService.
// Thread-safe.
#ifndef LONGLORA_SERVER_API_SUBMIT_CHECK_H_
#define LONGLORA_SERVER_API_SUBMIT_CHECK_H_

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/trainer_protocol/spec_rules.h"
#include "common/trainer_protocol/train_spec.h"
#include "longlora/v1/fine_tune_service.pb.h"
#include "server/api/dataset_check.h"

namespace longlora::server {

// INVALID_ARGUMENT (SPEC_INVALID with every violation, REQUEST_ID_INVALID, FILE_INVALID), NOT_FOUND
// (FILE_NOT_FOUND).
absl::Status CheckSubmit(const v1::CreateFineTuneJobRequest& request, DatasetCheck& datasets);

// Whether CheckSubmit would read a dataset file from start to end, which takes long.
bool NeedsReading(const v1::FineTuneSpec& spec, DatasetCheck& datasets);

// INVALID_ARGUMENT (SPEC_TOO_LARGE).
absl::Status CheckSpecSize(const v1::FineTuneSpec& spec, int64_t max_bytes);

// `spec` with its defaults, whatever it says of files; INVALID_ARGUMENT (SPEC_INVALID with every
// violation).
absl::StatusOr<common::TrainSpec> CheckSpec(const v1::FineTuneSpec& spec);

// INVALID_ARGUMENT (SPEC_INVALID) of these.
absl::Status SpecInvalid(std::vector<common::SpecViolation> violations);

// Of a message "path: what is wrong".
common::SpecViolation ToViolation(absl::string_view message);

}  // namespace longlora::server

#endif  // LONGLORA_SERVER_API_SUBMIT_CHECK_H_
