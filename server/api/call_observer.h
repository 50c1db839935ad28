// Measures every call of a gRPC server from arrival to status, whatever service it goes to. For
// metrics.
#ifndef LONGLORA_SERVER_API_CALL_OBSERVER_H_
#define LONGLORA_SERVER_API_CALL_OBSERVER_H_

#include <grpcpp/support/server_interceptor.h>

#include <functional>
#include <memory>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace longlora::server {

// `method` is "package.Service/Method", or "unknown" for one that no linked .proto describes (a
// caller must not be able to invent label values); `code` the name of a gRPC code ("OK",
// "NOT_FOUND"). Called once a call, from any thread.
using CallObserver =
    std::function<void(absl::string_view method, absl::string_view code, absl::Duration duration)>;

// To be given to grpc::ServerBuilder; a call that ends without a status of ours counts as
// CANCELLED.
std::unique_ptr<grpc::experimental::ServerInterceptorFactoryInterface> MakeCallObserver(
    CallObserver observer);

}  // namespace longlora::server

#endif  // LONGLORA_SERVER_API_CALL_OBSERVER_H_
