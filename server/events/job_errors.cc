#include "server/events/job_errors.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "rpc/grpc_status.h"
#include "server/store/resource_names.h"

namespace longlora::server {

absl::Status JobNotFoundError(absl::string_view job_id) {
  const std::string name = JobName(job_id);
  return rpc::MakeError(absl::StatusCode::kNotFound, absl::StrCat("there is no job ", name),
                        {"JOB_NOT_FOUND", {{"job", name}}, {}});
}

absl::Status WithJobReason(const absl::Status& status, absl::string_view job_id) {
  return absl::IsNotFound(status) ? JobNotFoundError(job_id) : status;
}

absl::StatusOr<std::string> JobIdOf(absl::string_view name, absl::string_view field) {
  return WithNameReason(ParseJobName(name), name, field);
}

absl::StatusOr<std::string> WithNameReason(absl::StatusOr<std::string> id, absl::string_view name,
                                           absl::string_view field) {
  if (id.ok()) return id;
  return rpc::MakeError(absl::StatusCode::kInvalidArgument, id.status().message(),
                        {"NAME_INVALID",
                         {{"name", std::string(name)}},
                         {{std::string(field), std::string(id.status().message())}}});
}

}  // namespace longlora::server
