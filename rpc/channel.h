// Makes channels to a server: credentials, the bearer token on every call, keepalive and message
// limits in one place. Used by worker and client.
#ifndef LONGLORA_RPC_CHANNEL_H_
#define LONGLORA_RPC_CHANNEL_H_

#include <grpcpp/channel.h>

#include <memory>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "rpc/credentials.h"

namespace longlora::rpc {

// `server` is HOST:PORT. Does not connect yet; calls fail with UNAVAILABLE while nobody answers.
absl::StatusOr<std::shared_ptr<grpc::Channel>> MakeChannel(absl::string_view server,
                                                           const ClientSecurity& security);

}  // namespace longlora::rpc

#endif  // LONGLORA_RPC_CHANNEL_H_
