#include "server/server.h"

#include <grpcpp/server_builder.h>
#include <signal.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <string>
#include <utility>
#include <vector>

#include "common/ids/id_generator.h"
#include "common/io/files.h"
#include "common/status/annotate.h"
#include "common/status/status_macros.h"
#include "common/time/clock.h"
#include "server/api/call_observer.h"
#include "server/store/postgres_job_store.h"
#include "server/store/sqlite_job_store.h"

namespace longlora::server {
namespace {

// They decide unary calls, which then wait for the store without one; see unary_calls.h.
constexpr int kUserCallThreads = 8;
constexpr int kWorkerCallThreads = 4;
// How late a lapsed lease or a back-off that is over may be noticed, and how long shutdown waits
// for it.
constexpr absl::Duration kTickInterval = absl::Milliseconds(100);

}  // namespace

absl::StatusOr<std::unique_ptr<Server>> Server::Start(const ServerConfig& config) {
  std::unique_ptr<Server> server(new Server());
  LONGLORA_RETURN_IF_ERROR(server->OpenStorage(config));
  LONGLORA_RETURN_IF_ERROR(server->StartScheduler(config));
  LONGLORA_RETURN_IF_ERROR(server->StartListening(config));
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
          user_calls_.get(), scheduler_.get(), datasets_.get(), creates_.get(), limits.spec_bytes});
  file_service_ =
      std::make_unique<FileServiceHandler>(files_.get(), transfers_.get(), user_calls_.get());
  queue_service_ = std::make_unique<QueueServiceHandler>(scheduler_.get(), user_calls_.get());
  worker_directory_ = std::make_unique<WorkerDirectoryHandler>(scheduler_.get(), scheduler_.get(),
                                                               user_calls_.get());
  worker_service_ = std::make_unique<WorkerServiceHandler>(WorkerServiceHandler::Dependencies{
      scheduler_.get(), artifacts_.get(), files_.get(), transfers_.get(), worker_calls_.get()});
}

absl::Status Server::StartListening(const ServerConfig& config) {
  MakeServices(config);
  if (!config.metrics_listen.empty()) {
    LONGLORA_ASSIGN_OR_RETURN(exporter_, MetricsExporter::Start(config.metrics_listen, metrics_));
  }
  grpc::ServerBuilder builder;
  std::vector<std::unique_ptr<grpc::experimental::ServerInterceptorFactoryInterface>> interceptors;
  interceptors.push_back(
      MakeCallObserver([metrics = metrics_.get()](absl::string_view method, absl::string_view code,
                                                  absl::Duration duration) {
        metrics->ObserveCall(method, code, duration);
      }));
  builder.experimental().SetInterceptorCreators(std::move(interceptors));
  LONGLORA_ASSIGN_OR_RETURN(
      listener_, Listen(config, {"--listen", config.listen},
                        {{v1::FineTuneService::service_full_name(), fine_tune_service_.get()},
                         {v1::FileService::service_full_name(), file_service_.get()},
                         {v1::QueueService::service_full_name(), queue_service_.get()},
                         {v1::WorkerDirectoryService::service_full_name(), worker_directory_.get()},
                         {worker::v1::WorkerService::service_full_name(), worker_service_.get()}},
                        builder));
  return absl::OkStatus();
}

Server::~Server() {
  if (listener_.server != nullptr) ShutDown(*listener_.server, *watches_);
}

}  // namespace longlora::server
