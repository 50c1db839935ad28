#include "server/scheduler/placement.h"

#include <algorithm>
#include <map>
#include <optional>
#include <tuple>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace longlora::server {
namespace {

// Jobs that ask for the same: equal for every worker, so decided once.
using Demand = std::tuple<absl::string_view, absl::string_view, absl::string_view, int32_t>;

struct Candidates {
  std::vector<size_t> workers;  // that have the model, the adapter and enough devices, free or not
  WaitReason reason = WaitReason::kWaitingForDevices;  // of a job that cannot be placed
  // No worker has enough left. Stays true for the rest of a pass: devices are only taken.
  bool exhausted = false;
};

int32_t CountDevices(const PlacementWorker& worker, absl::string_view kind, bool only_free) {
  return static_cast<int32_t>(std::count_if(
      worker.devices.begin(), worker.devices.end(),
      [&](const auto& device) { return device.kind == kind && !(only_free && device.used); }));
}

class Planner {
 public:
  explicit Planner(std::vector<PlacementWorker> workers)
      : workers_(std::move(workers)), reserved_(workers_.size(), false) {
    // Equal choices must not depend on the order of arrival.
    std::sort(workers_.begin(), workers_.end(),
              [](const auto& a, const auto& b) { return a.id < b.id; });
  }

  void Take(const PlacementRequest& job) {
    if (job.backing_off) return Wait(job, WaitReason::kBackOff);
    Candidates& candidates = FindCandidates(job);
    if (candidates.workers.empty()) return Wait(job, candidates.reason);
    if (!candidates.exhausted) {
      if (const std::optional<size_t> best = BestFit(job, candidates); best.has_value()) {
        return Assign(job, workers_[*best]);
      }
      candidates.exhausted = true;
      Reserve(job, candidates);
    }
    Wait(job, WaitReason::kWaitingForDevices);
  }

  PlacementPlan TakePlan() { return std::move(plan_); }

 private:
  Candidates& FindCandidates(const PlacementRequest& job) {
    const Demand demand(job.base_model, job.initial_adapter, job.device_kind, job.device_count);
    const auto [found, is_new] = candidates_.try_emplace(demand);
    if (!is_new) return found->second;
    Candidates& candidates = found->second;
    bool model_found = false;
    for (size_t i = 0; i < workers_.size(); ++i) {
      const PlacementWorker& worker = workers_[i];
      if (!CanRead(job.base_model, worker.models, worker.allowed_roots)) continue;
      if (!job.initial_adapter.empty() && !CanRead(job.initial_adapter, {}, worker.allowed_roots))
        continue;
      model_found = true;
      if (CountDevices(worker, job.device_kind, false) >= job.device_count) {
        candidates.workers.push_back(i);
      }
    }
    if (workers_.empty()) {
      candidates.reason = WaitReason::kNoWorker;
    } else if (candidates.workers.empty()) {
      candidates.reason = model_found ? WaitReason::kNoDevices : WaitReason::kNoModel;
    }
    return candidates;
  }

  std::optional<size_t> BestFit(const PlacementRequest& job, const Candidates& candidates) const {
    std::optional<size_t> best;
    int32_t best_left = 0;
    for (const size_t i : candidates.workers) {
      if (reserved_[i]) continue;
      const int32_t left = CountDevices(workers_[i], job.device_kind, true) - job.device_count;
      if (left < 0 || (best.has_value() && left >= best_left)) continue;
      best = i;
      best_left = left;
    }
    return best;
  }

  // The nearest worker is the one with the most free devices. Nothing is placed on it while it is
  // reserved, so its free devices only grow, and the choice moves only to a worker that is nearer
  // still.
  void Reserve(const PlacementRequest& job, const Candidates& candidates) {
    std::optional<size_t> nearest;
    int32_t nearest_free = -1;
    for (const size_t i : candidates.workers) {
      if (reserved_[i]) return;
      const int32_t free = CountDevices(workers_[i], job.device_kind, true);
      if (free > nearest_free) {
        nearest = i;
        nearest_free = free;
      }
    }
    if (nearest.has_value()) reserved_[*nearest] = true;
  }

  void Assign(const PlacementRequest& job, PlacementWorker& worker) {
    PlacedJob placed{std::string(job.id), worker.id, {}};
    for (PlacementWorker::DeviceState& device : worker.devices) {
      if (static_cast<int32_t>(placed.device_ids.size()) == job.device_count) break;
      if (device.kind != job.device_kind || device.used) continue;
      device.used = true;
      placed.device_ids.push_back(device.id);
    }
    plan_.placed.push_back(std::move(placed));
  }

  void Wait(const PlacementRequest& job, WaitReason reason) {
    plan_.waiting.push_back({std::string(job.id), reason, waiting_by_reason_[reason]++});
  }

  std::vector<PlacementWorker> workers_;
  std::vector<bool> reserved_;
  std::map<Demand, Candidates> candidates_;
  std::map<WaitReason, int32_t> waiting_by_reason_;
  PlacementPlan plan_;
};

}  // namespace

absl::string_view WaitReasonCode(WaitReason reason) {
  switch (reason) {
    case WaitReason::kNoWorker:
      return "NO_WORKER";
    case WaitReason::kNoModel:
      return "NO_MODEL";
    case WaitReason::kNoDevices:
      return "NO_DEVICES";
    case WaitReason::kWaitingForDevices:
      return "WAITING_FOR_DEVICES";
    case WaitReason::kBackOff:
      return "BACK_OFF";
  }
  return "UNKNOWN";
}

bool CanRead(absl::string_view model, const std::vector<std::string>& models,
             const std::vector<std::string>& allowed_roots) {
  if (!absl::StartsWith(model, "/")) {
    return std::find(models.begin(), models.end(), model) != models.end();
  }
  const std::vector<absl::string_view> parts = absl::StrSplit(model, '/');
  if (std::find(parts.begin(), parts.end(), "..") != parts.end()) return false;
  return std::any_of(allowed_roots.begin(), allowed_roots.end(), [&](const std::string& root) {
    if (root.empty()) return false;
    return model == root ||
           absl::StartsWith(model, root.back() == '/' ? root : absl::StrCat(root, "/"));
  });
}

absl::string_view DeviceKindOf(const v1::FineTuneSpec& spec) {
  return spec.resources().has_device() ? absl::string_view(spec.resources().device()) : "cuda";
}

int32_t DeviceCountOf(const v1::FineTuneSpec& spec) {
  return spec.resources().has_devices_per_node() ? spec.resources().devices_per_node() : 1;
}

PlacementPlan PlanPlacement(std::vector<PlacementRequest> jobs,
                            std::vector<PlacementWorker> workers) {
  std::sort(jobs.begin(), jobs.end(), [](const PlacementRequest& a, const PlacementRequest& b) {
    return std::make_tuple(-int64_t{a.priority}, a.order) <
           std::make_tuple(-int64_t{b.priority}, b.order);
  });
  Planner planner(std::move(workers));
  for (const PlacementRequest& job : jobs) planner.Take(job);
  return planner.TakePlan();
}

}  // namespace longlora::server
