// The composition root: builds store, scheduler, services and listeners of one server and ends them
// in order. A server that loses its store to another sends its own process SIGTERM. Used by main
// and, in process and on port 0, by tests. Start and destruction belong to one thread.
#ifndef LONGLORA_SERVER_SERVER_H_
#define LONGLORA_SERVER_SERVER_H_

#include <atomic>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/api/dataset_check.h"
#include "server/api/file_service.h"
#include "server/api/fine_tune_service.h"
#include "server/api/queue_service.h"
#include "server/api/rate_limit.h"
#include "server/api/transfer.h"
#include "server/api/unary_calls.h"
#include "server/api/watch_stream.h"
#include "server/api/worker_directory_service.h"
#include "server/api/worker_service.h"
#include "server/artifacts/artifact_store.h"
#include "server/artifacts/file_store.h"
#include "server/events/event_hub.h"
#include "server/events/event_log.h"
#include "server/events/event_retention.h"
#include "server/listener.h"
#include "server/metrics/metrics_exporter.h"
#include "server/metrics/server_metrics.h"
#include "server/scheduler/scheduler.h"
#include "server/scheduler/scheduler_loop.h"
#include "server/server_config.h"
#include "server/store/job_store.h"

namespace longlora::server {

class Server {
 public:
  // Serves when it returns OK. ALREADY_EXISTS: another server has the PostgreSQL store.
  // FAILED_PRECONDITION: another server has the data directory.
  // UNAVAILABLE: an address cannot be bound. INVALID_ARGUMENT: an unsafe combination, see
  // rpc::MakeServerCredentials.
  static absl::StatusOr<std::unique_ptr<Server>> Start(const ServerConfig& config);
  // Stops taking calls, ends watch streams with UNAVAILABLE, lets other calls finish for some
  // seconds.
  ~Server();

  // The bound ports; metrics_port is 0 when no metrics are served.
  int port() const { return listener_.port; }
  int metrics_port() const { return exporter_ == nullptr ? 0 : exporter_->port(); }
  // Another server has taken the store over: this one is of no use any more.
  bool lost_store() const { return lost_store_; }

 private:
  Server() = default;
  absl::Status OpenStorage(const ServerConfig& config);
  absl::Status OpenStore(const ServerConfig& config);
  absl::Status StartScheduler(const ServerConfig& config);
  void MakeServices(const ServerConfig& config);
  absl::Status StartListening(const ServerConfig& config);

  std::atomic<bool> lost_store_ = false;
  // In the order in which they use one another; destroyed the other way round.
  std::shared_ptr<ServerMetrics> metrics_;
  std::unique_ptr<JobStore> store_;
  std::unique_ptr<FileStore> files_;
  std::unique_ptr<ArtifactStore> artifacts_;
  EventHub hub_;
  std::unique_ptr<EventLog> events_;
  std::unique_ptr<Scheduler> scheduler_;
  std::unique_ptr<SchedulerLoop> loop_;
  std::unique_ptr<EventRetention> retention_;
  std::unique_ptr<DatasetCheck> datasets_;
  std::unique_ptr<TransferLimit> transfers_;
  std::unique_ptr<UnaryCalls> user_calls_;
  std::unique_ptr<UnaryCalls> worker_calls_;
  std::unique_ptr<RateLimit> creates_;
  std::unique_ptr<WatchStreams> watches_;
  std::unique_ptr<FineTuneServiceHandler> fine_tune_service_;
  std::unique_ptr<FileServiceHandler> file_service_;
  std::unique_ptr<QueueServiceHandler> queue_service_;
  std::unique_ptr<WorkerDirectoryHandler> worker_directory_;
  std::unique_ptr<WorkerServiceHandler> worker_service_;
  std::unique_ptr<MetricsExporter> exporter_;
  Listener listener_;
};

}  // namespace longlora::server

#endif  // LONGLORA_SERVER_SERVER_H_
