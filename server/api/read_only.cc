#include "server/api/read_only.h"

#include "rpc/grpc_status.h"
#include "server/api/edge_status.h"

namespace longlora::server {
namespace {

// Owns itself until gRPC is done with it.
class Refusal final : public grpc::ServerGenericBidiReactor {
 public:
  Refusal() { Finish(ToReply(ReadOnlyError())); }
  void OnDone() override { delete this; }
};

}  // namespace

absl::Status ReadOnlyError() {
  return rpc::MakeError(
      absl::StatusCode::kFailedPrecondition,
      "this address only tells of jobs and workers (--read-listen): make the call at the address "
      "of the leading server (--listen)",
      {.reason = "READ_ONLY"});
}

grpc::ServerGenericBidiReactor* ReadOnlyService::CreateReactor(
    grpc::GenericCallbackServerContext*) {
  return new Refusal;
}

}  // namespace longlora::server
