#include "server/server.h"

#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/server_builder.h>
#include <health.pb.h>
#include <signal.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <chrono>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/ids/id_generator.h"
#include "common/io/files.h"
#include "common/status/annotate.h"
#include "common/status/status_macros.h"
#include "common/time/clock.h"
#include "rpc/credentials.h"
#include "server/api/bearer_token.h"
#include "server/api/call_observer.h"
#include "server/store/postgres_job_store.h"
#include "server/store/sqlite_job_store.h"

namespace longlora::server {
namespace {

// They decide unary calls, which then wait for the store without one; see unary_calls.h.
constexpr int kUserCallThreads = 8;
constexpr int kWorkerCallThreads = 4;
// gRPC's own threads are for transfers, for telling those beyond the limit so, and for reflection.
constexpr int kThreadsBesideTransfers = 64;
// Up to this many times Limits.message_bytes a request is refused in our words, beyond in gRPC's,
// unread.
constexpr int kMessageReserve = 4;
constexpr int kMaxMetadataBytes = 16 << 10;
constexpr std::chrono::seconds kShutdownGrace(5);
// How late a lapsed lease or a back-off that is over may be noticed, and how long shutdown waits
// for it.
constexpr absl::Duration kTickInterval = absl::Milliseconds(100);

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
    const ServerConfig& config) {
  LONGLORA_ASSIGN_OR_RETURN(std::shared_ptr<grpc::ServerCredentials> credentials,
                            rpc::MakeServerCredentials(config.security, config.listen));
  if (config.token_file.empty()) return credentials;
  LONGLORA_ASSIGN_OR_RETURN(const std::string token, rpc::ReadToken(config.token_file));
  return RequireBearerToken(std::move(credentials), token);
}

}  // namespace

absl::StatusOr<std::unique_ptr<Server>> Server::Start(const ServerConfig& config) {
  std::unique_ptr<Server> server(new Server());
  LONGLORA_RETURN_IF_ERROR(server->OpenStorage(config));
  LONGLORA_RETURN_IF_ERROR(server->StartScheduler(config));
  LONGLORA_RETURN_IF_ERROR(server->Listen(config));
  return server;
}

absl::Status Server::OpenStorage(const ServerConfig& config) {
  metrics_ =
      std::make_shared<ServerMetrics>(LONGLORA_VERSION, [this] { return scheduler_->Snapshot(); });
  if (absl::Status status = common::CreateDirectories(config.data_dir); !status.ok()) {
    return common::Annotate(status, "--data-dir");
  }
  LONGLORA_RETURN_IF_ERROR(OpenStore(config));
  LONGLORA_ASSIGN_OR_RETURN(files_,
                            FileStore::Open(config.data_dir + "/files", config.max_file_bytes));
  LONGLORA_ASSIGN_OR_RETURN(
      artifacts_, ArtifactStore::Open(config.data_dir + "/artifacts", config.max_artifact_bytes));
  LONGLORA_ASSIGN_OR_RETURN(const std::vector<std::string> jobs, artifacts_->ListJobs());
  for (const std::string& job : jobs) {
    // Deleted, but the server died before its files were.
    if (!absl::IsNotFound(store_->ReadJob(job).status())) continue;
    spdlog::info("removing artifacts of the deleted job {}", job);
    LONGLORA_RETURN_IF_ERROR(artifacts_->RemoveJob(job));
  }
  return absl::OkStatus();
}

absl::Status Server::OpenStore(const ServerConfig& config) {
  const CommitObserver on_commit = [metrics = metrics_.get()](absl::Duration duration) {
    metrics->ObserveCommit(duration);
  };
  if (config.store.empty()) {
    LONGLORA_ASSIGN_OR_RETURN(store_,
                              OpenSqliteJobStore(config.data_dir + "/jobs.sqlite", on_commit));
    return absl::OkStatus();
  }
  const StoreLostObserver on_lost = [this](const absl::Status& why) {
    if (lost_store_.exchange(true)) return;
    spdlog::error("ending: {}", std::string(why.message()));
    kill(getpid(), SIGTERM);
  };
  LONGLORA_ASSIGN_OR_RETURN(store_, OpenPostgresJobStore(config.store, on_commit, on_lost));
  return absl::OkStatus();
}

absl::Status Server::StartScheduler(const ServerConfig& config) {
  events_ = std::make_unique<EventLog>(*store_, hub_);
  Scheduler::Dependencies dependencies;
  dependencies.store = store_.get();
  dependencies.hub = &hub_;
  dependencies.clock = &common::Clock::Real();
  dependencies.ids = &common::IdGenerator::Real();
  SchedulerOptions options = config.scheduler;
  if (!config.queues.empty()) {
    absl::StatusOr<QueuesConfig> queues = ReadQueuesConfig(config.queues);
    if (!queues.ok()) return common::Annotate(queues.status(), "--queues");
    options.queues = *std::move(queues);
  }
  LONGLORA_ASSIGN_OR_RETURN(scheduler_, Scheduler::Create(std::move(options), dependencies));
  loop_ = std::make_unique<SchedulerLoop>(*scheduler_, kTickInterval);
  retention_ =
      std::make_unique<EventRetention>(config.retention, store_.get(), &common::Clock::Real());
  return absl::OkStatus();
}

void Server::MakeServices(const ServerConfig& config) {
  const Limits& limits = config.limits;
  common::Clock* const clock = &common::Clock::Real();
  datasets_ = std::make_unique<DatasetCheck>(files_.get());
  transfers_ = std::make_unique<TransferLimit>(limits.transfers);
  user_calls_ = std::make_unique<UnaryCalls>(kUserCallThreads, limits);
  worker_calls_ = std::make_unique<UnaryCalls>(kWorkerCallThreads, limits);
  creates_ = std::make_unique<RateLimit>(limits.creates_per_second, limits.creates_burst, clock);
  watches_ = std::make_unique<WatchStreams>(scheduler_.get(), events_.get(), limits, clock);
  fine_tune_service_ =
      std::make_unique<FineTuneServiceHandler>(FineTuneServiceHandler::Dependencies{
          scheduler_.get(), events_.get(), artifacts_.get(), transfers_.get(), watches_.get(),
          user_calls_.get(), scheduler_.get(), datasets_.get(), creates_.get(),
          limits.spec_bytes});
  file_service_ =
      std::make_unique<FileServiceHandler>(files_.get(), transfers_.get(), user_calls_.get());
  queue_service_ = std::make_unique<QueueServiceHandler>(scheduler_.get(), user_calls_.get());
  worker_directory_ = std::make_unique<WorkerDirectoryHandler>(scheduler_.get(), scheduler_.get(),
                                                               user_calls_.get());
  worker_service_ = std::make_unique<WorkerServiceHandler>(WorkerServiceHandler::Dependencies{
      scheduler_.get(), artifacts_.get(), files_.get(), transfers_.get(), worker_calls_.get()});
}

absl::Status Server::Listen(const ServerConfig& config) {
  MakeServices(config);
  LONGLORA_ASSIGN_OR_RETURN(auto credentials, MakeCredentials(config));
  if (!config.metrics_listen.empty()) {
    LONGLORA_ASSIGN_OR_RETURN(exporter_, MetricsExporter::Start(config.metrics_listen, metrics_));
  }
  grpc::EnableDefaultHealthCheckService(true);
  // Mentioned so that the linker keeps it: reflection looks the health service's description up by
  // name.
  grpc::health::v1::HealthCheckRequest::descriptor();
  grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  grpc::ServerBuilder builder;
  SetLimits(builder, config.limits);
  builder.AddListeningPort(config.listen, std::move(credentials), &port_);
  const std::vector<grpc::Service*> services = {fine_tune_service_.get(), file_service_.get(),
                                                queue_service_.get(), worker_directory_.get(),
                                                worker_service_.get()};
  for (grpc::Service* service : services) builder.RegisterService(service);
  std::vector<std::unique_ptr<grpc::experimental::ServerInterceptorFactoryInterface>> interceptors;
  interceptors.push_back(
      MakeCallObserver([metrics = metrics_.get()](absl::string_view method, absl::string_view code,
                                                  absl::Duration duration) {
        metrics->ObserveCall(method, code, duration);
      }));
  builder.experimental().SetInterceptorCreators(std::move(interceptors));
  grpc_server_ = builder.BuildAndStart();
  if (grpc_server_ == nullptr || port_ == 0) {
    return absl::UnavailableError(
        absl::StrCat("cannot listen on ", config.listen, "; is the port taken? (--listen)"));
  }
  for (const char* name :
       {v1::FineTuneService::service_full_name(), v1::FileService::service_full_name(),
        v1::QueueService::service_full_name(), v1::WorkerDirectoryService::service_full_name(),
        worker::v1::WorkerService::service_full_name()}) {
    grpc_server_->GetHealthCheckService()->SetServingStatus(name, true);
  }
  return absl::OkStatus();
}

Server::~Server() {
  if (grpc_server_ == nullptr) return;
  grpc_server_->GetHealthCheckService()->Shutdown();
  watches_->Stop();
  grpc_server_->Shutdown(std::chrono::system_clock::now() + kShutdownGrace);
  grpc_server_->Wait();
}

}  // namespace longlora::server
