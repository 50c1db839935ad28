// Errors about jobs and names that several callers raise, with the reasons of the public API. Pure
// functions.
#ifndef LONGLORA_SERVER_EVENTS_JOB_ERRORS_H_
#define LONGLORA_SERVER_EVENTS_JOB_ERRORS_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace longlora::server {

// NOT_FOUND (JOB_NOT_FOUND).
absl::Status JobNotFoundError(absl::string_view job_id);

// Gives a NOT_FOUND of the store its reason; every other status passes.
absl::Status WithJobReason(const absl::Status& status, absl::string_view job_id);

// The id inside a job's resource name, which `field` of the request has; INVALID_ARGUMENT
// (NAME_INVALID).
absl::StatusOr<std::string> JobIdOf(absl::string_view name, absl::string_view field = "name");

// Gives what a Parse...Name of store/resource_names refused the same reason; an id passes.
absl::StatusOr<std::string> WithNameReason(absl::StatusOr<std::string> id, absl::string_view name,
                                           absl::string_view field);

}  // namespace longlora::server

#endif  // LONGLORA_SERVER_EVENTS_JOB_ERRORS_H_
