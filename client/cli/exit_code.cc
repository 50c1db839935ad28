#include "client/cli/exit_code.h"

#include "rpc/grpc_status.h"

namespace longlora::client {

ExitCode ExitCodeOf(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kOk:
      return kExitDone;
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kFailedPrecondition:
    case absl::StatusCode::kOutOfRange:
    case absl::StatusCode::kAlreadyExists:
    case absl::StatusCode::kAborted:
      return kExitUsage;
    case absl::StatusCode::kNotFound:
      return kExitNotFound;
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kDeadlineExceeded:
      return kExitUnreachable;
    case absl::StatusCode::kUnauthenticated:
    case absl::StatusCode::kPermissionDenied:
      return kExitNotAllowed;
    case absl::StatusCode::kResourceExhausted:
      // The user's file, not the server's disk or ours.
      return rpc::GetErrorDetails(status).reason == "FILE_TOO_LARGE" ? kExitUsage : kExitOther;
    default:
      return kExitOther;
  }
}

ExitCode ExitCodeOf(v1::FineTuneJob::State state) {
  return state == v1::FineTuneJob::SUCCEEDED ? kExitDone : kExitJobFailed;
}

}  // namespace longlora::client
