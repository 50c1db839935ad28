// Whom a call counts for, where limits are for each client. Pure.
#ifndef LONGLORA_SERVER_API_CLIENT_IDENTITY_H_
#define LONGLORA_SERVER_API_CLIENT_IDENTITY_H_

#include <grpcpp/server_context.h>

#include <string>

#include "absl/strings/string_view.h"

namespace longlora::server {

// Where BearerTokenProcessor leaves which token it was, as a property of the call's AuthContext.
inline constexpr char kTokenProperty[] = "longlora_token";

// The name in the client's certificate; else its token; else the address of its machine. Never
// empty.
std::string ClientOf(const grpc::ServerContextBase& context);

// "ipv4:10.0.0.1:4711" without the port: connections of one machine are one client.
absl::string_view WithoutPort(absl::string_view peer);

}  // namespace longlora::server

#endif  // LONGLORA_SERVER_API_CLIENT_IDENTITY_H_
