// Serves /metrics over HTTP for Prometheus, on threads of its own. Used by the composition root.
// Without password: what it shows are names and figures of jobs, so listen where only Prometheus
// can reach.
#ifndef LONGLORA_SERVER_METRICS_METRICS_EXPORTER_H_
#define LONGLORA_SERVER_METRICS_METRICS_EXPORTER_H_

#include <prometheus/collectable.h>
#include <prometheus/exposer.h>

#include <memory>
#include <string>

#include "absl/status/statusor.h"

namespace longlora::server {

class MetricsExporter {
 public:
  // `listen` is HOST:PORT, port 0 takes a free one. UNAVAILABLE when it cannot be bound.
  static absl::StatusOr<std::unique_ptr<MetricsExporter>> Start(
      const std::string& listen, std::shared_ptr<prometheus::Collectable> metrics);

  int port() const { return exposer_->GetListeningPorts().front(); }

 private:
  MetricsExporter(std::shared_ptr<prometheus::Collectable> metrics,
                  std::unique_ptr<prometheus::Exposer> exposer)
      : metrics_(std::move(metrics)), exposer_(std::move(exposer)) {}

  // The exposer keeps weak pointers only.
  const std::shared_ptr<prometheus::Collectable> metrics_;
  const std::unique_ptr<prometheus::Exposer> exposer_;
};

}  // namespace longlora::server

#endif  // LONGLORA_SERVER_METRICS_METRICS_EXPORTER_H_
