// Every metric of the server, declared in server_metrics.cc and nowhere else. What the scheduler
// knows is asked for at each scrape, so series of a job vanish when it ends; the rest is counted
// where it happens. Thread-safe. Serves nothing by itself: see metrics_exporter.h.
#ifndef LONGLORA_SERVER_METRICS_SERVER_METRICS_H_
#define LONGLORA_SERVER_METRICS_SERVER_METRICS_H_

#include <prometheus/collectable.h>
#include <prometheus/family.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>

#include <functional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "server/scheduler/scheduler_snapshot.h"

namespace longlora::server {

class ServerMetrics : public prometheus::Collectable {
 public:
  // `snapshot` is called at each scrape, from any thread, and must outlive the scrapes.
  ServerMetrics(absl::string_view version, std::function<SchedulerSnapshot()> snapshot);

  // A call that ended. `method` is "package.Service/Method", `code` the name of a gRPC code.
  void ObserveCall(absl::string_view method, absl::string_view code, absl::Duration duration);
  // A commit of the job store, from the first change in it to the answer of the disk.
  void ObserveCommit(absl::Duration duration);

  std::vector<prometheus::MetricFamily> Collect() const override;

 private:
  const std::string version_;
  const std::function<SchedulerSnapshot()> snapshot_;
  prometheus::Registry registry_;
  prometheus::Family<prometheus::Histogram>& call_seconds_;
  prometheus::Histogram& commit_seconds_;
};

}  // namespace longlora::server

#endif  // LONGLORA_SERVER_METRICS_SERVER_METRICS_H_
