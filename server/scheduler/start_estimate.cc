#include "server/scheduler/start_estimate.h"

#include <algorithm>
#include <map>
#include <utility>

namespace longlora::server {
namespace {

using Key = std::pair<absl::string_view, absl::string_view>;  // worker, kind

struct Choice {
  std::vector<absl::Duration>* devices = nullptr;  // of a worker, by when they are free
  absl::Duration start = absl::InfiniteDuration();
};

}  // namespace

std::vector<absl::Duration> EstimateStarts(std::vector<BusyDevice> devices,
                                           const std::vector<EstimatedJob>& jobs) {
  std::map<Key, std::vector<absl::Duration>> free_in;  // rising
  for (const BusyDevice& device : devices) {
    free_in[{device.worker, device.kind}].push_back(device.free_in);
  }
  for (auto& [key, times] : free_in) std::sort(times.begin(), times.end());
  std::vector<absl::Duration> starts;
  for (const EstimatedJob& job : jobs) {
    const auto count = static_cast<size_t>(job.count);
    Choice best;
    for (const absl::string_view worker : job.workers) {
      const auto found = free_in.find({worker, job.kind});
      if (found == free_in.end() || found->second.size() < count) continue;
      const absl::Duration start = found->second[count - 1];
      if (best.devices == nullptr || start < best.start) best = {&found->second, start};
    }
    starts.push_back(best.start);
    if (best.devices == nullptr) continue;
    // It takes them until it ends, which may be never as far as can be told.
    for (size_t i = 0; i < count; ++i) (*best.devices)[i] = best.start + job.length;
    std::sort(best.devices->begin(), best.devices->end());
  }
  return starts;
}

}  // namespace longlora::server
