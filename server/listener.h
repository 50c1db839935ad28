// What the gRPC servers of this process have in common: TLS, token and limits of the config, health
// and reflection, and how they end. Used by server and read_server.
#ifndef LONGLORA_SERVER_LISTENER_H_
#define LONGLORA_SERVER_LISTENER_H_

#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "server/api/watch_stream.h"
#include "server/server_config.h"

namespace longlora::server {

struct ListenAddress {
  const char* flag;       // that sets it
  std::string host_port;  // port 0 takes a free one
};

struct NamedService {
  const char* name;  // in full, as the health service tells it
  grpc::Service* service;
};

struct Listener {
  std::unique_ptr<grpc::Server> server;
  int port = 0;  // that is bound
};

// Serves `services`, and what `builder` has besides. UNAVAILABLE: the address cannot be bound.
// INVALID_ARGUMENT: an unsafe combination, see rpc::MakeServerCredentials.
absl::StatusOr<Listener> Listen(const ServerConfig& config, const ListenAddress& address,
                                const std::vector<NamedService>& services,
                                grpc::ServerBuilder& builder);

// Takes no more calls, ends watch streams with UNAVAILABLE, lets other calls finish for some
// seconds.
void ShutDown(grpc::Server& server, WatchStreams& watches);

}  // namespace longlora::server

#endif  // LONGLORA_SERVER_LISTENER_H_
