// Serves metrics at http://HOST:PORT/metrics for Prometheus to pull.
#ifndef LONGLORA_WORKER_METRICS_METRICS_SERVER_H_
#define LONGLORA_WORKER_METRICS_METRICS_SERVER_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "worker/metrics/worker_metrics.h"

namespace longlora::worker {

class MetricsServer {
 public:
  // Listens on `listen` ("127.0.0.1:9201"; port 0: any). UNAVAILABLE when that is not possible.
  static absl::StatusOr<std::unique_ptr<MetricsServer>> Start(const std::string& listen,
                                                              const WorkerMetrics& metrics);
  ~MetricsServer();

  int port() const;

 private:
  struct State;
  explicit MetricsServer(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace longlora::worker

#endif  // LONGLORA_WORKER_METRICS_METRICS_SERVER_H_
