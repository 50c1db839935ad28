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
std::string QueueName(absl::string_view id);   // queues/{id}

// The id of "fineTuneJobs/{id}"; INVALID_ARGUMENT when the name has another form.
absl::StatusOr<std::string> ParseJobName(absl::string_view name);
// The same of "workers/{id}" and "queues/{id}".
absl::StatusOr<std::string> ParseWorkerName(absl::string_view name);
absl::StatusOr<std::string> ParseQueueName(absl::string_view name);

}  // namespace longlora::server

#endif  // LONGLORA_SERVER_STORE_RESOURCE_NAMES_H_
