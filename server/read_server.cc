#include "server/read_server.h"

#include <spdlog/spdlog.h>

#include "common/status/status_macros.h"
#include "common/time/clock.h"
#include "server/store/postgres_job_store.h"

namespace longlora::server {
namespace {

// Each has its own session of the database at most.
constexpr int kCallThreads = 4;
// How late an event may be told.
constexpr absl::Duration kPollInterval = absl::Seconds(1);

}  // namespace

ReadServer::ReadServer(const ServerConfig& config)
    : store_(OpenPostgresReader(config.store)),
      artifacts_(ArtifactStore::OpenToRead(config.data_dir + "/artifacts")),
      events_(*store_, hub_),
      poll_(&hub_, kPollInterval),
      reader_(store_.get()),
      transfers_(config.limits.transfers),
      calls_(kCallThreads, config.limits),
      watches_(&reader_, &events_, config.limits, &common::Clock::Real()),
      fine_tune_service_(FineTuneServiceHandler::Dependencies{.reader = &reader_,
                                                              .events = &events_,
                                                              .artifacts = artifacts_.get(),
                                                              .transfers = &transfers_,
                                                              .watches = &watches_,
                                                              .calls = &calls_}),
      worker_directory_(&reader_, /*scheduler=*/nullptr, &calls_) {}

absl::StatusOr<std::unique_ptr<ReadServer>> ReadServer::Start(const ServerConfig& config) {
  if (config.read_listen.empty()) return nullptr;
  std::unique_ptr<ReadServer> server(new ReadServer(config));
  grpc::ServerBuilder builder;
  builder.RegisterCallbackGenericService(&server->everything_else_);
  LONGLORA_ASSIGN_OR_RETURN(
      server->listener_,
      Listen(config, {"--read-listen", config.read_listen},
             {{v1::FineTuneService::service_full_name(), &server->fine_tune_service_},
              {v1::WorkerDirectoryService::service_full_name(), &server->worker_directory_}},
             builder));
  spdlog::info("reads are answered on port {} ({})", server->port(), config.read_listen);
  return server;
}

ReadServer::~ReadServer() {
  if (listener_.server != nullptr) ShutDown(*listener_.server, watches_);
}

}  // namespace longlora::server
