#include "server/api/edge_status.h"

#include <spdlog/spdlog.h>

#include <string>

#include "rpc/grpc_status.h"

namespace longlora::server {
namespace {

// A path or a file that storage code could not use says nothing about what the caller asked for.
absl::Status WithReason(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kUnavailable:
      return rpc::MakeError(status.code(), status.message(), {.reason = "STORAGE_UNAVAILABLE"});
    case absl::StatusCode::kResourceExhausted:
      return rpc::MakeError(status.code(), status.message(), {.reason = "STORAGE_FULL"});
    case absl::StatusCode::kCancelled:
      return rpc::MakeError(status.code(), status.message(), {.reason = "CANCELLED"});
    default:
      return rpc::MakeError(absl::StatusCode::kInternal, status.message(), {.reason = "INTERNAL"});
  }
}

}  // namespace

grpc::Status ToReply(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  if (!rpc::GetErrorDetails(status).reason.empty()) return rpc::ToGrpcStatus(status);
  if (!absl::IsCancelled(status)) spdlog::error("a call failed: {}", status.ToString());
  return rpc::ToGrpcStatus(WithReason(status));
}

}  // namespace longlora::server
