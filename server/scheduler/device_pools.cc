#include "server/scheduler/device_pools.h"

#include <algorithm>
#include <utility>

namespace longlora::server {
namespace {

bool HasLabels(const PlacementWorker& worker, const std::vector<absl::string_view>& labels) {
  return std::all_of(labels.begin(), labels.end(), [&](absl::string_view label) {
    return std::find(worker.labels.begin(), worker.labels.end(), label) != worker.labels.end();
  });
}

}  // namespace

bool Suits(const PlacementWorker& worker, const PlacementRequest& job) {
  return CanRead(job.base_model, worker.models, worker.allowed_roots) &&
         (job.initial_adapter.empty() || CanRead(job.initial_adapter, {}, worker.allowed_roots)) &&
         HasLabels(worker, job.worker_labels);
}

DevicePools::DevicePools(std::vector<PlacementWorker> workers,
                         const std::vector<RunningJob>& running)
    : workers_(std::move(workers)), pools_(workers_.size()) {
  // Equal choices must not depend on the order of arrival.
  std::sort(workers_.begin(), workers_.end(),
            [](const auto& a, const auto& b) { return a.id < b.id; });
  std::map<absl::string_view, size_t> index;
  for (size_t i = 0; i < workers_.size(); ++i) {
    index[workers_[i].id] = i;
    for (const PlacementWorker::DeviceState& device : workers_[i].devices) {
      DevicePool& pool = pools_[i][device.kind];
      ++pool.total;
      if (!device.used) ++pool.free;
    }
  }
  for (const RunningJob& job : running) {
    const auto found = index.find(job.worker);
    if (job.leaving && found != index.end()) {
      Leave(found->second, job.device_kind, job.device_count);
    }
  }
}

const DevicePool& DevicePools::PoolOf(size_t worker, absl::string_view kind) const {
  static const DevicePool kNone;
  const auto found = pools_[worker].find(kind);
  return found == pools_[worker].end() ? kNone : found->second;
}

Candidates& DevicePools::CandidatesOf(const PlacementRequest& job) {
  const auto [found, is_new] = candidates_.try_emplace(Demand(
      job.base_model, job.initial_adapter, job.device_kind, job.device_count, job.worker_labels));
  Candidates& candidates = found->second;
  if (!is_new) return candidates;
  bool suited = false;
  for (size_t i = 0; i < workers_.size(); ++i) {
    if (!Suits(workers_[i], job)) continue;
    suited = true;
    const DevicePool& pool = PoolOf(i, job.device_kind);
    if (pool.total < job.device_count) continue;
    candidates.workers.push_back(i);
    candidates.pools.push_back(&pool);
  }
  if (workers_.empty()) {
    candidates.reason = WaitReason::kNoWorker;
  } else if (candidates.workers.empty()) {
    candidates.reason = suited ? WaitReason::kNoDevices : WaitReason::kNoModel;
  }
  return candidates;
}

std::optional<size_t> DevicePools::BestFit(const PlacementRequest& job,
                                           const Candidates& candidates) const {
  std::optional<size_t> best;
  int32_t best_left = 0;
  for (size_t i = 0; i < candidates.pools.size(); ++i) {
    const DevicePool& pool = *candidates.pools[i];
    const int32_t left = pool.free - pool.reserved - job.device_count;
    if (left < 0 || (best.has_value() && left >= best_left)) continue;
    best = candidates.workers[i];
    best_left = left;
  }
  return best;
}

std::vector<std::string> DevicePools::Take(const PlacementRequest& job, size_t worker) {
  std::vector<std::string> ids;
  for (PlacementWorker::DeviceState& device : workers_[worker].devices) {
    if (static_cast<int32_t>(ids.size()) == job.device_count) break;
    if (device.kind != job.device_kind || device.used) continue;
    device.used = true;
    ids.push_back(device.id);
  }
  pools_[worker].find(job.device_kind)->second.free -= job.device_count;
  return ids;
}

int32_t DevicePools::Lacking(const PlacementRequest& job, size_t worker) const {
  const DevicePool& pool = PoolOf(worker, job.device_kind);
  return job.device_count - (pool.free + pool.leaving - pool.reserved);
}

void DevicePools::Reserve(const PlacementRequest& job, size_t worker) {
  pools_[worker].find(job.device_kind)->second.reserved += job.device_count;
}

// The nearest worker is the one with the most free devices. Nothing is placed on it while it is
// reserved, so its free devices only grow, and the choice moves only to a worker that is nearer
// still.
void DevicePools::ReserveNearest(const PlacementRequest& job, const Candidates& candidates) {
  std::optional<size_t> nearest;
  int32_t nearest_free = -1;
  for (const size_t i : candidates.workers) {
    const DevicePool& pool = PoolOf(i, job.device_kind);
    if (pool.reserved > 0) return;
    if (pool.free <= nearest_free) continue;
    nearest = i;
    nearest_free = pool.free;
  }
  if (nearest.has_value()) Reserve(job, *nearest);
}

void DevicePools::Leave(size_t worker, absl::string_view kind, int32_t count) {
  const auto found = pools_[worker].find(kind);
  if (found != pools_[worker].end()) found->second.leaving += count;
}

}  // namespace longlora::server
