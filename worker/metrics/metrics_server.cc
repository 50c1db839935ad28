#include "worker/metrics/metrics_server.h"

#include <prometheus/exposer.h>

#include <exception>
#include <utility>

#include "absl/strings/str_cat.h"

namespace longlora::worker {

struct MetricsServer::State {
  explicit State(const std::string& listen) : exposer(listen) {}
  prometheus::Exposer exposer;
  std::shared_ptr<prometheus::Collectable> collectable;
};

MetricsServer::MetricsServer(std::unique_ptr<State> state) : state_(std::move(state)) {}
MetricsServer::~MetricsServer() = default;

absl::StatusOr<std::unique_ptr<MetricsServer>> MetricsServer::Start(const std::string& listen,
                                                                    const WorkerMetrics& metrics) {
  std::unique_ptr<State> state;
  // The Prometheus library reports a port in use by an exception.
  try {
    state = std::make_unique<State>(listen);
  } catch (const std::exception& error) {
    return absl::UnavailableError(
        absl::StrCat("--metrics-listen ", listen,
                     ": cannot listen there (is the port in use?): ", error.what()));
  }
  state->collectable = metrics.collectable();
  state->exposer.RegisterCollectable(state->collectable);
  return std::unique_ptr<MetricsServer>(new MetricsServer(std::move(state)));
}

int MetricsServer::port() const { return state_->exposer.GetListeningPorts().front(); }

}  // namespace longlora::worker
