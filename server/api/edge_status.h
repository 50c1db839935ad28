// The edge between absl::Status and gRPC: every answer of a service leaves through here, so that
// every error has a reason and what is our fault is logged. Pure but for the log.
#ifndef LONGLORA_SERVER_API_EDGE_STATUS_H_
#define LONGLORA_SERVER_API_EDGE_STATUS_H_

#include <grpcpp/support/status.h>

#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace longlora::server {

// rpc::ToGrpcStatus, after errors of the storage and of ours were logged and those without a reason
// were given one: STORAGE_UNAVAILABLE, STORAGE_FULL, INTERNAL.
grpc::Status ToReply(const absl::Status& status);

// Moves a value into the response of a method, or returns its error.
template <typename T>
grpc::Status ToReply(absl::StatusOr<T> value, T* response) {
  if (!value.ok()) return ToReply(value.status());
  *response = *std::move(value);
  return grpc::Status::OK;
}

}  // namespace longlora::server

#endif  // LONGLORA_SERVER_API_EDGE_STATUS_H_
