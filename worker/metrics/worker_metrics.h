// Every metric of the worker, declared in one place. Users: the agent (sets), the metrics server
// (serves). Names no type of the Prometheus library, which only this folder links. Thread-safe.
#ifndef LONGLORA_WORKER_METRICS_WORKER_METRICS_H_
#define LONGLORA_WORKER_METRICS_WORKER_METRICS_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/time/clock.h"

namespace prometheus {
class Collectable;
}

namespace longlora::worker {

// How an attempt ended on this worker.
enum class AttemptOutcome { kSucceeded, kFailed, kStopped, kAbandoned };

class WorkerMetrics {
 public:
  struct DeviceLabels {
    std::string id;    // "cuda:0"
    std::string kind;  // "cuda"
  };

  // `clock` must outlive it.
  WorkerMetrics(const std::string& version, const std::vector<DeviceLabels>& devices,
                common::Clock* clock);
  ~WorkerMetrics();

  // Until when the worker may go on without the server; unset: no lease. What remains is computed
  // when somebody looks. Connected means that the last call of the server succeeded.
  void SetLease(std::optional<common::MonotonicTime> end);
  void SetConnected(bool connected);
  // Processes that run, over all attempts.
  void AddRanks(int count);
  // Events that the server has not acknowledged, over all attempts.
  void AddSpooledEvents(int64_t count);
  void AddUploadedBytes(int64_t count);
  void CountAttempt(AttemptOutcome outcome);

  // What a scrape returns.
  std::shared_ptr<prometheus::Collectable> collectable() const;

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace longlora::worker

#endif  // LONGLORA_WORKER_METRICS_WORKER_METRICS_H_
