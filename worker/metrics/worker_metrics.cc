#include "worker/metrics/worker_metrics.h"

#include <prometheus/collectable.h>
#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/registry.h>

#include <algorithm>
#include <map>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

namespace longlora::worker {
namespace {

using ::prometheus::BuildCounter;
using ::prometheus::BuildGauge;
using ::prometheus::Registry;

prometheus::Counter& AttemptCounter(Registry& registry, const std::string& outcome) {
  return BuildCounter()
      .Name("longlora_worker_attempts_total")
      .Help("Attempts that ended on this worker.")
      .Register(registry)
      .Add({{"outcome", outcome}});
}

prometheus::Gauge& PlainGauge(Registry& registry, const std::string& name,
                              const std::string& help) {
  return BuildGauge().Name(name).Help(help).Register(registry).Add({});
}

}  // namespace

struct WorkerMetrics::State : prometheus::Collectable {
  explicit State(common::Clock* clock)
      : clock(clock),
        connected(PlainGauge(registry, "longlora_worker_connected",
                             "1 when the last call of the server succeeded.")),
        lease_remaining(PlainGauge(registry, "longlora_worker_lease_remaining_seconds",
                                   "Time the worker may train on without reaching the server.")),
        ranks(PlainGauge(registry, "longlora_worker_ranks", "Trainer processes that run.")),
        spooled_events(PlainGauge(registry, "longlora_worker_spooled_events",
                                  "Events the server has not acknowledged.")),
        uploaded_bytes(BuildCounter()
                           .Name("longlora_worker_uploaded_bytes_total")
                           .Help("Bytes of checkpoints and results sent to the server.")
                           .Register(registry)
                           .Add({})),
        attempts{{AttemptOutcome::kSucceeded, &AttemptCounter(registry, "succeeded")},
                 {AttemptOutcome::kFailed, &AttemptCounter(registry, "failed")},
                 {AttemptOutcome::kStopped, &AttemptCounter(registry, "stopped")},
                 {AttemptOutcome::kAbandoned, &AttemptCounter(registry, "abandoned")}} {}

  std::vector<prometheus::MetricFamily> Collect() const override {
    {
      absl::MutexLock lock(&mutex);
      const absl::Duration left =
          lease_end.has_value() ? std::max(*lease_end - clock->MonotonicNow(), absl::ZeroDuration())
                                : absl::ZeroDuration();
      lease_remaining.Set(absl::ToDoubleSeconds(left));
    }
    return registry.Collect();
  }

  Registry registry;
  common::Clock* const clock;
  mutable absl::Mutex mutex;
  std::optional<common::MonotonicTime> lease_end ABSL_GUARDED_BY(mutex);
  prometheus::Gauge& connected;
  prometheus::Gauge& lease_remaining;
  prometheus::Gauge& ranks;
  prometheus::Gauge& spooled_events;
  prometheus::Counter& uploaded_bytes;
  const std::map<AttemptOutcome, prometheus::Counter*> attempts;
};

WorkerMetrics::WorkerMetrics(const std::string& version, const std::vector<DeviceLabels>& devices,
                             common::Clock* clock)
    : state_(std::make_shared<State>(clock)) {
  BuildGauge()
      .Name("longlora_build_info")
      .Help("Version of the program; always 1.")
      .Register(state_->registry)
      .Add({{"version", version}})
      .Set(1);
  auto& family = BuildGauge()
                     .Name("longlora_worker_device_info")
                     .Help("Devices this worker offers; always 1.")
                     .Register(state_->registry);
  for (const DeviceLabels& device : devices) {
    family.Add({{"device", device.id}, {"kind", device.kind}}).Set(1);
  }
}

WorkerMetrics::~WorkerMetrics() = default;

void WorkerMetrics::SetLease(std::optional<common::MonotonicTime> end) {
  absl::MutexLock lock(&state_->mutex);
  state_->lease_end = end;
}

void WorkerMetrics::SetConnected(bool connected) { state_->connected.Set(connected ? 1 : 0); }

void WorkerMetrics::AddRanks(int count) { state_->ranks.Increment(count); }

void WorkerMetrics::AddSpooledEvents(int64_t count) {
  state_->spooled_events.Increment(static_cast<double>(count));
}

void WorkerMetrics::AddUploadedBytes(int64_t count) {
  state_->uploaded_bytes.Increment(static_cast<double>(count));
}

void WorkerMetrics::CountAttempt(AttemptOutcome outcome) {
  state_->attempts.at(outcome)->Increment();
}

std::shared_ptr<prometheus::Collectable> WorkerMetrics::collectable() const { return state_; }

}  // namespace longlora::worker
