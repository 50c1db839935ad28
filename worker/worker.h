// The worker as a whole: puts the parts together in the order in which they may act. Nothing of a
// former life is left running when it first speaks to the server. Used by main and by tests.
#ifndef LONGLORA_WORKER_WORKER_H_
#define LONGLORA_WORKER_WORKER_H_

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/io/unique_fd.h"
#include "worker/agent/attempt.h"
#include "worker/agent/device_locks.h"
#include "worker/agent/file_cache.h"
#include "worker/agent/server_link.h"
#include "worker/agent/sync_loop.h"
#include "worker/metrics/metrics_server.h"
#include "worker/metrics/worker_metrics.h"
#include "worker/supervisor/posix_process.h"
#include "worker/worker_config.h"

namespace longlora::worker {

class Worker {
 public:
  // Takes the work directory, looks for devices, and ends the trainers of a former life.
  // INVALID_ARGUMENT or FAILED_PRECONDITION with the flag to change; UNAVAILABLE when another
  // worker has the directory.
  static absl::StatusOr<std::unique_ptr<Worker>> Start(const WorkerConfig& config);

  // Serves until Leave; see SyncLoop::Run.
  absl::Status Run();
  // Stops attempts with a checkpoint, tells the server, and lets Run return. Any thread.
  void Leave() { sync_loop_->Leave(); }

  // 0: metrics are off.
  int metrics_port() const { return metrics_server_ == nullptr ? 0 : metrics_server_->port(); }

 private:
  Worker() = default;
  absl::Status LockWorkDir(const std::string& work_dir);
  absl::Status Describe(const WorkerConfig& config, const std::string& work_dir);
  absl::Status Connect(const WorkerConfig& config, const std::string& work_dir);

  common::UniqueFd lock_;
  PosixProcessLauncher launcher_;
  DeviceLocks device_locks_;
  std::unique_ptr<WorkerMetrics> metrics_;
  std::unique_ptr<MetricsServer> metrics_server_;
  std::unique_ptr<ServerLink> link_;
  std::unique_ptr<FileCache> cache_;
  AttemptEnvironment environment_;
  std::unique_ptr<SyncLoop> sync_loop_;
};

}  // namespace longlora::worker

#endif  // LONGLORA_WORKER_WORKER_H_
