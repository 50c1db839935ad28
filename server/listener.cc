#include "server/listener.h"

#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/health_check_service_interface.h>
#include <health.pb.h>

#include <chrono>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status/status_macros.h"
#include "rpc/credentials.h"
#include "server/api/bearer_token.h"

namespace longlora::server {
namespace {

// gRPC's own threads are for transfers, for telling those beyond the limit so, and for reflection.
constexpr int kThreadsBesideTransfers = 64;
// Up to this many times Limits.message_bytes a request is refused in our words, beyond in gRPC's,
// unread.
constexpr int kMessageReserve = 4;
constexpr int kMaxMetadataBytes = 16 << 10;
constexpr std::chrono::seconds kShutdownGrace(5);

void SetLimits(grpc::ServerBuilder& builder, const Limits& limits) {
  builder.SetMaxReceiveMessageSize(static_cast<int>(kMessageReserve * limits.message_bytes));
  builder.AddChannelArgument(GRPC_ARG_MAX_METADATA_SIZE, kMaxMetadataBytes);
  // Clients ping every 30 s, also without calls (rpc/channel.cc); twice as often is abuse.
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 20'000);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, 60'000);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 20'000);
  // Else a second server could share the port and take half of the calls.
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  grpc::ResourceQuota quota("longlora-server");
  quota.SetMaxThreads(limits.transfers + kThreadsBesideTransfers);
  builder.SetResourceQuota(quota);
  builder.SetSyncServerOption(grpc::ServerBuilder::SyncServerOption::MIN_POLLERS, 1);
  builder.SetSyncServerOption(grpc::ServerBuilder::SyncServerOption::MAX_POLLERS, 4);
}

absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> MakeCredentials(
    const ServerConfig& config, const std::string& host_port) {
  LONGLORA_ASSIGN_OR_RETURN(std::shared_ptr<grpc::ServerCredentials> credentials,
                            rpc::MakeServerCredentials(config.security, host_port));
  if (config.token_file.empty()) return credentials;
  LONGLORA_ASSIGN_OR_RETURN(const std::string token, rpc::ReadToken(config.token_file));
  return RequireBearerToken(std::move(credentials), token);
}

}  // namespace

absl::StatusOr<Listener> Listen(const ServerConfig& config, const ListenAddress& address,
                                const std::vector<NamedService>& services,
                                grpc::ServerBuilder& builder) {
  LONGLORA_ASSIGN_OR_RETURN(auto credentials, MakeCredentials(config, address.host_port));
  grpc::EnableDefaultHealthCheckService(true);
  // Mentioned so that the linker keeps it: reflection looks the health service's description up by
  // name.
  grpc::health::v1::HealthCheckRequest::descriptor();
  grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  SetLimits(builder, config.limits);
  Listener listener;
  builder.AddListeningPort(address.host_port, std::move(credentials), &listener.port);
  for (const NamedService& named : services) builder.RegisterService(named.service);
  listener.server = builder.BuildAndStart();
  if (listener.server == nullptr || listener.port == 0) {
    return absl::UnavailableError(absl::StrCat("cannot listen on ", address.host_port,
                                               "; is the port taken? (", address.flag, ")"));
  }
  for (const NamedService& named : services) {
    listener.server->GetHealthCheckService()->SetServingStatus(named.name, true);
  }
  return listener;
}

void ShutDown(grpc::Server& server, WatchStreams& watches) {
  server.GetHealthCheckService()->Shutdown();
  watches.Stop();
  server.Shutdown(std::chrono::system_clock::now() + kShutdownGrace);
  server.Wait();
}

}  // namespace longlora::server
