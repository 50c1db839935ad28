// What an address that only reads (--read-listen) answers to everything else: FAILED_PRECONDITION
// (READ_ONLY). Used by the services and by server/read_server. Stateless; thread-safe.
#ifndef LONGLORA_SERVER_API_READ_ONLY_H_
#define LONGLORA_SERVER_API_READ_ONLY_H_

#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/support/server_callback.h>

#include "absl/status/status.h"
#include "server/api/unary_calls.h"
#include "server/scheduler/scheduler.h"

namespace longlora::server {

absl::Status ReadOnlyError();

// For a service method that takes more than the store to return: `start()`, or the refusal where
// there is no scheduler.
template <typename Start>
grpc::ServerUnaryReactor* UnlessReadOnly(grpc::CallbackServerContext* context,
                                         const Scheduler* scheduler, Start start) {
  if (scheduler != nullptr) return start();
  return UnaryCalls::Refuse(context->DefaultReactor(), ReadOnlyError());
}

// Refuses the methods of every service that is not registered beside it.
class ReadOnlyService final : public grpc::CallbackGenericService {
 public:
  grpc::ServerGenericBidiReactor* CreateReactor(
      grpc::GenericCallbackServerContext* context) override;
};

}  // namespace longlora::server

#endif  // LONGLORA_SERVER_API_READ_ONLY_H_
