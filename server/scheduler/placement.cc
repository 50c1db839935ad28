#include "server/scheduler/placement.h"

#include <algorithm>
#include <optional>
#include <set>
#include <tuple>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "server/scheduler/device_pools.h"
#include "server/scheduler/preemption.h"
#include "server/scheduler/queue_shares.h"

namespace longlora::server {
namespace {

class Planner {
 public:
  explicit Planner(const PlacementInput& input)
      : jobs_(input.jobs),
        running_(input.running),
        queues_(input),
        pools_(input.workers, input.running),
        preemption_(*input.queues, input.running, queues_, pools_) {}

  QueueShare& QueueOf(const PlacementRequest& job) { return queues_.Find(job.queue); }

  void Take(const PlacementRequest& job) {
    if (job.backing_off) return Wait(job, WaitReason::kBackOff);
    QueueShare& queue = queues_.Find(job.queue);
    if (queue.config == nullptr) return Wait(job, WaitReason::kNoQueue);
    QuotaUse& use = queue.UseOf(job.device_kind);
    if (use.limit.has_value() && *use.limit < job.device_count) {
      return Wait(job, WaitReason::kQuotaTooSmall);
    }
    Candidates& candidates = pools_.CandidatesOf(job);
    if (candidates.workers.empty()) return Wait(job, candidates.reason);
    if (use.blocked) return WaitForQuota(job, queue);
    if (!use.Allows(job.device_count)) {
      use.blocked = true;
      MakeRoom(job, use, candidates);
      return WaitForQuota(job, queue);
    }
    if (!candidates.exhausted) {
      if (const std::optional<size_t> best = pools_.BestFit(job, candidates); best.has_value()) {
        return Assign(job, queue, use, *best);
      }
      candidates.exhausted = true;
    }
    if (!MakeRoom(job, use, candidates) && !std::exchange(candidates.reserved, true)) {
      pools_.ReserveNearest(job, candidates);
    }
    Wait(job, WaitReason::kWaitingForDevices);
  }

  PlacementPlan TakePlan() {
    plan_.retry_after = preemption_.retry_after();
    return std::move(plan_);
  }

 private:
  // Asks others to end for the job and keeps their devices for it; false: nobody has to. Until they
  // have left, later passes find their devices on the way and ask no more of anybody.
  bool MakeRoom(const PlacementRequest& job, QuotaUse& use, Candidates& candidates) {
    if (candidates.cannot_preempt.contains(job.queue)) return false;
    const std::optional<Room> room = preemption_.Find(job, candidates.workers);
    if (!room.has_value()) {
      candidates.cannot_preempt.insert(job.queue);
      return false;
    }
    for (const size_t victim : room->victims) {
      preemption_.Take(victim);
      pools_.Leave(room->worker, running_[victim].device_kind, running_[victim].device_count);
      plan_.preempted.push_back({running_[victim].id, job.id});
    }
    pools_.Reserve(job, room->worker);
    use.promised += job.device_count;
    return true;
  }

  void Assign(const PlacementRequest& job, QueueShare& queue, QuotaUse& use, size_t worker) {
    plan_.placed.push_back(
        {IndexOf(job), job.id, pools_.workers()[worker].id, pools_.Take(job, worker)});
    use.used += job.device_count;
    use.staying += job.device_count;
    queue.Charge(job.device_count);
  }

  void Wait(const PlacementRequest& job, WaitReason reason) {
    plan_.waiting.push_back({IndexOf(job), job.id, reason, waiting_by_reason_[reason]++});
  }

  void WaitForQuota(const PlacementRequest& job, QueueShare& queue) {
    plan_.waiting.push_back(
        {IndexOf(job), job.id, WaitReason::kWaitingForQuota, queue.quota_waiters++});
  }

  size_t IndexOf(const PlacementRequest& job) const {
    return static_cast<size_t>(&job - jobs_.data());
  }

  const std::vector<PlacementRequest>& jobs_;
  const std::vector<RunningJob>& running_;
  QueueShares queues_;
  DevicePools pools_;
  Preemption preemption_;
  std::map<WaitReason, int32_t> waiting_by_reason_;
  PlacementPlan plan_;
};

// The jobs of one queue that are still to be looked at, in their order.
struct Line {
  std::vector<const PlacementRequest*> jobs;
  size_t next = 0;
};

std::map<absl::string_view, Line> LineUp(const std::vector<PlacementRequest>& jobs) {
  std::map<absl::string_view, Line> lines;
  for (const PlacementRequest& job : jobs) lines[job.queue].jobs.push_back(&job);
  for (auto& [queue, line] : lines) {
    std::sort(line.jobs.begin(), line.jobs.end(),
              [](const PlacementRequest* a, const PlacementRequest* b) {
                return std::make_pair(-int64_t{a->priority}, a->order) <
                       std::make_pair(-int64_t{b->priority}, b->order);
              });
  }
  return lines;
}

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
    case WaitReason::kWaitingForQuota:
      return "WAITING_FOR_QUOTA";
    case WaitReason::kQuotaTooSmall:
      return "QUOTA_TOO_SMALL";
    case WaitReason::kNoQueue:
      return "NO_QUEUE";
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

absl::string_view QueueOf(const v1::FineTuneSpec& spec) {
  return spec.has_queue() ? absl::string_view(spec.queue()) : kDefaultQueue;
}

PlacementPlan PlanPlacement(const PlacementInput& input) {
  Planner planner(input);
  std::map<absl::string_view, Line> lines = LineUp(input.jobs);
  // The queues whose turn is still to come. A turn changes only with what its own queue gets, and
  // with what others give up for it, which its next turn sees.
  std::set<std::pair<Turn, Line*>> turns;
  const auto wait_for_turn = [&](Line& line) {
    if (line.next == line.jobs.size()) return;
    const PlacementRequest& next = *line.jobs[line.next];
    turns.insert({TurnOf(planner.QueueOf(next), next), &line});
  };
  for (auto& [queue, line] : lines) wait_for_turn(line);
  while (!turns.empty()) {
    Line& line = *turns.begin()->second;
    turns.erase(turns.begin());
    planner.Take(*line.jobs[line.next++]);
    wait_for_turn(line);
  }
  return planner.TakePlan();
}

}  // namespace longlora::server
