// Resource names of the public API (AIP-122) and the ids inside them. Pure functions.
#ifndef LONGLORA_SERVER_STORE_RESOURCE_NAMES_H_
#define LONGLORA_SERVER_STORE_RESOURCE_NAMES_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace longlora::server {

std::string JobName(absl::string_view id);  // fineTuneJobs/{id}
std::string CheckpointName(absl::string_view job_id,
                           int64_t step);      // fineTuneJobs/{id}/checkpoints/{step}
std::string WorkerName(absl::string_view id);  // workers/{id}

// The id of "fineTuneJobs/{id}"; INVALID_ARGUMENT when the name has another form.
absl::StatusOr<std::string> ParseJobName(absl::string_view name);

// Whether `id` may name a worker: [a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?
bool IsWorkerId(absl::string_view id);

}  // namespace longlora::server

#endif  // LONGLORA_SERVER_STORE_RESOURCE_NAMES_H_
