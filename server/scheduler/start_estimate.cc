#include "server/scheduler/start_estimate.h"

#include <algorithm>

namespace longlora::server {

std::vector<absl::Duration> EstimateStarts(std::vector<BusyDevices> pools,
                                           const std::vector<EstimatedJob>& jobs) {
  for (BusyDevices& pool : pools) std::sort(pool.begin(), pool.end());
  std::vector<absl::Duration> starts;
  for (const EstimatedJob& job : jobs) {
    const auto count = static_cast<size_t>(job.count);
    BusyDevices* best = nullptr;
    absl::Duration start = absl::InfiniteDuration();
    for (const size_t i : *job.pools) {
      BusyDevices& pool = pools[i];
      if (pool.size() < count) continue;
      if (best != nullptr && pool[count - 1] >= start) continue;
      best = &pool;
      start = pool[count - 1];
    }
    starts.push_back(start);
    if (best == nullptr) continue;
    // It takes them until it ends, which may be never as far as can be told.
    std::fill_n(best->begin(), count, start + job.length);
    std::sort(best->begin(), best->end());
  }
  return starts;
}

}  // namespace longlora::server
