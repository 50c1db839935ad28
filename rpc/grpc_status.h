// The one place where absl::Status becomes grpc::Status and back, so that no code or detail is lost
// on the wire. Reasons travel as google.rpc.ErrorInfo {reason, domain "longlora", metadata},
// violations of a spec as google.rpc.BadRequest, when to come again as google.rpc.RetryInfo. Pure
// functions.
#ifndef LONGLORA_RPC_GRPC_STATUS_H_
#define LONGLORA_RPC_GRPC_STATUS_H_

#include <grpcpp/support/status.h>

#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "common/trainer_protocol/spec_rules.h"

namespace longlora::rpc {

// Details of an error, carried as a payload of absl::Status.
struct ErrorDetails {
  std::string reason = {};  // UPPER_SNAKE, from the list in the .proto files
  std::map<std::string, std::string> metadata = {};  // values that the message also names
  std::vector<common::SpecViolation> violations = {};
  // The call was refused before it did anything, for now only: make it again after this. Zero: not
  // told.
  absl::Duration retry_delay = absl::ZeroDuration();
};

// An error of `code` with `details` attached. Long texts, which callers put into their requests,
// are cut: a caller takes no more than 8 KiB of error.
absl::Status MakeError(absl::StatusCode code, absl::string_view message, ErrorDetails details);

// The details of `status`; empty reason when it has none.
ErrorDetails GetErrorDetails(const absl::Status& status);

// For a service method to return. INTERNAL, UNKNOWN and DATA_LOSS mean a bug or broken storage of
// ours: their message is kept, it names no secret.
grpc::Status ToGrpcStatus(const absl::Status& status);

// For a caller that received `status`.
absl::Status FromGrpcStatus(const grpc::Status& status);

}  // namespace longlora::rpc

#endif  // LONGLORA_RPC_GRPC_STATUS_H_
