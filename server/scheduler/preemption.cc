#include "server/scheduler/preemption.h"

#include <algorithm>
#include <map>
#include <utility>

namespace longlora::server {
namespace {

absl::Duration LossOf(const RunningJob& job) { return job.unsaved * job.device_count; }

}  // namespace

Preemption::Preemption(const QueuesConfig& config, const std::vector<RunningJob>& running,
                       QueueShares& queues, const DevicePools& pools)
    : config_(config),
      running_(running),
      queues_(queues),
      pools_(pools),
      taken_(running.size(), false) {
  for (size_t i = 0; i < running.size(); ++i) {
    if (!running[i].leaving) by_worker_[running[i].worker].push_back(i);
  }
  for (auto& [worker, jobs] : by_worker_) {
    std::sort(jobs.begin(), jobs.end(), [&](size_t a, size_t b) {
      return std::make_pair(LossOf(running[a]), running[a].id) <
             std::make_pair(LossOf(running[b]), running[b].id);
    });
  }
}

std::optional<Room> Preemption::Find(const PlacementRequest& job,
                                     const std::vector<size_t>& candidates) {
  QueueShare& queue = queues_.Find(job.queue);
  const QuotaUse& use = queue.UseOf(job.device_kind);
  Needs needs;
  needs.lower_priority = queue.config->preempt_lower_priority;
  needs.reclaim = config_.reclaim && use.Entitled(job.device_count);
  if (!needs.reclaim && !needs.lower_priority) return std::nullopt;
  if (use.limit.has_value()) {
    needs.quota = use.staying + use.promised + job.device_count - *use.limit;
  }
  std::optional<Choice> best;
  for (const size_t worker : candidates) {
    needs.devices = pools_.Lacking(job, worker);
    std::optional<Choice> choice = FindOn(worker, job, needs);
    if (!choice.has_value()) continue;
    if (!best.has_value() || std::make_pair(choice->loss, choice->room.victims.size()) <
                                 std::make_pair(best->loss, best->room.victims.size())) {
      best = std::move(choice);
    }
  }
  if (!best.has_value()) return std::nullopt;
  return std::move(best->room);
}

std::optional<Preemption::Choice> Preemption::FindOn(size_t worker, const PlacementRequest& job,
                                                     const Needs& needs) {
  Choice choice{{worker, {}}, absl::ZeroDuration()};
  int32_t devices = needs.devices;
  int32_t quota = needs.quota;
  std::map<absl::string_view, int32_t> given_up;  // devices, by queue
  const auto found = by_worker_.find(pools_.workers()[worker].id);
  if (found != by_worker_.end()) {
    for (const size_t i : found->second) {
      if (devices <= 0 && quota <= 0) break;
      const RunningJob& victim = running_[i];
      if (taken_[i] || !MayTake(victim, job, needs, given_up)) continue;
      given_up[victim.queue] += victim.device_count;
      devices -= victim.device_count;
      if (victim.queue == job.queue) quota -= victim.device_count;
      choice.room.victims.push_back(i);
      choice.loss += LossOf(victim);
    }
  }
  if (devices > 0 || quota > 0) return std::nullopt;
  // A small loss taken first may be needless beside a large one that had to follow.
  auto& victims = choice.room.victims;
  for (size_t i = victims.size(); i-- > 0;) {
    const RunningJob& victim = running_[victims[i]];
    const int32_t of_quota = victim.queue == job.queue ? victim.device_count : 0;
    if (devices + victim.device_count > 0 || quota + of_quota > 0) continue;
    devices += victim.device_count;
    quota += of_quota;
    choice.loss -= LossOf(victim);
    victims.erase(victims.begin() + static_cast<std::ptrdiff_t>(i));
  }
  return choice;
}

bool Preemption::MayTake(const RunningJob& victim, const PlacementRequest& job, const Needs& needs,
                         const std::map<absl::string_view, int32_t>& given_up) {
  if (victim.device_kind != job.device_kind) return false;
  if (victim.queue == job.queue) {
    if (!needs.lower_priority || victim.priority >= job.priority) return false;
  } else {
    // Who is within the nominal quota is within the limit: the queue itself need give up nothing.
    if (!needs.reclaim) return false;
    const QuotaUse& use = queues_.Find(victim.queue).UseOf(victim.device_kind);
    const auto already = given_up.find(victim.queue);
    const int32_t staying = use.staying - (already == given_up.end() ? 0 : already->second);
    if (staying <= use.nominal) return false;
  }
  const absl::Duration spared = config_.min_run_time - victim.run_time;
  if (spared <= absl::ZeroDuration()) return true;
  retry_after_ = std::min(retry_after_, spared);
  return false;
}

void Preemption::Take(size_t victim) {
  const RunningJob& job = running_[victim];
  taken_[victim] = true;
  queues_.Find(job.queue).UseOf(job.device_kind).staying -= job.device_count;
}

}  // namespace longlora::server
