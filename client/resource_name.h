// Resource names as people type them. Pure functions.
#ifndef LONGLORA_CLIENT_RESOURCE_NAME_H_
#define LONGLORA_CLIENT_RESOURCE_NAME_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace longlora::client {

// `fineTuneJobs/{id}` of "fineTuneJobs/{id}" or "{id}"; INVALID_ARGUMENT when it cannot be a job's
// name.
absl::StatusOr<std::string> JobName(absl::string_view text);

// `workers/{id}` of "workers/{id}" or "{id}"; INVALID_ARGUMENT when it cannot be a worker's name.
absl::StatusOr<std::string> WorkerName(absl::string_view text);

// `queues/{id}` of "queues/{id}" or "{id}"; INVALID_ARGUMENT when it cannot be a queue's name.
absl::StatusOr<std::string> QueueName(absl::string_view text);

// `{id}` of `fineTuneJobs/{id}`, for messages and commands; other text as it is.
absl::string_view ShortName(absl::string_view name);

// `files/{sha256}`.
std::string FileName(absl::string_view sha256);

// Whether `text` is `files/{sha256}`.
bool IsFileName(absl::string_view text);

}  // namespace longlora::client

#endif  // LONGLORA_CLIENT_RESOURCE_NAME_H_
