// What happens without a caller: leases lapse, back-offs end, jobs are placed.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/scheduler/scheduler.h"
#include "server/store/timestamps.h"

namespace longlora::server {
namespace {

// A pass looks at the whole queue under the lock, so a long queue must not be looked at for every
// job that comes or goes: passes take a tenth of the time, and each places all that there is room
// for.
constexpr int kRestPerPlacement = 9;

PlacementRequest ToRequest(const StoredJob& job, bool backing_off) {
  const v1::FineTuneSpec& spec = job.record.job().spec();
  PlacementRequest request;
  request.id = job.id;
  request.priority = spec.priority();
  request.order = job.order;
  request.base_model = spec.base_model();
  request.initial_adapter = spec.method().initial_adapter();
  request.device_kind = DeviceKindOf(spec);
  request.device_count = DeviceCountOf(spec);
  request.backing_off = backing_off;
  return request;
}

PlacementWorker ToPlacementWorker(const std::string& id, const KnownWorker& known) {
  PlacementWorker worker;
  worker.id = id;
  worker.models.assign(known.record.worker().models().begin(),
                       known.record.worker().models().end());
  worker.allowed_roots.assign(known.record.allowed_roots().begin(),
                              known.record.allowed_roots().end());
  std::set<absl::string_view> used;
  for (const auto& [job, devices] : known.held) used.insert(devices.begin(), devices.end());
  for (const v1::Device& device : known.record.worker().devices()) {
    worker.devices.push_back({device.id(), device.kind(), used.contains(device.id())});
  }
  return worker;
}

}  // namespace

void Scheduler::Tick() {
  TakeBackUnread();
  std::vector<Handed> handed;
  {
    absl::MutexLock lock(&mutex_);
    const Moment now = Now();
    ExpireLeases(now, handed);
    ForgetOldWorkers(now);
    Drain(now, handed);
    Place(now, handed);
  }
  // A change that the store refused was taken back; the next tick tries again.
  Await(handed).IgnoreError();
}

void Scheduler::AwaitWork(absl::Duration timeout) {
  absl::MutexLock lock(&mutex_);
  const absl::Duration rest = next_placement_ - Now().monotonic;
  if (placement_due_ && rest > absl::ZeroDuration()) {
    bool never = false;
    mutex_.AwaitWithTimeout(absl::Condition(&never), std::min(rest, timeout));
    return;
  }
  mutex_.AwaitWithTimeout(absl::Condition(&placement_due_), timeout);
}

void Scheduler::ExpireLeases(Moment now, std::vector<Handed>& handed) {
  if (workers_.Expire(now.monotonic)) placement_due_ = true;
  std::vector<std::pair<std::string, std::string>> lost;  // job, worker
  for (const auto& [id, worker] : workers_.workers()) {
    if (worker.connected || now.monotonic < worker.lease_end + options_.lease_grace) continue;
    for (const auto& [job, devices] : worker.held) lost.emplace_back(job, id);
  }
  for (const auto& [job, worker] : lost) {
    const AttemptEnd end = {
        AttemptEnd::How::kLost,
        MakeFailure("WORKER_LOST", absl::StrCat("worker ", worker, " was not heard of for ",
                                                absl::FormatDuration(options_.lease_duration +
                                                                     options_.lease_grace)))};
    EndAttempt(*FindLive(job), end, now, handed);
  }
}

void Scheduler::ForgetOldWorkers(Moment now) {
  // Its record in the store ends as soon as the store gets to it; after a crash before that, the
  // worker is forgotten once more.
  for (std::string& name : workers_.ForgetBefore(now.date - options_.worker_retention)) {
    dependencies_.store->EnqueueForgetWorker(std::move(name));
  }
}

void Scheduler::Place(Moment now, std::vector<Handed>& handed) {
  while (!retry_times_.empty() && now.monotonic.since_start() >= *retry_times_.begin()) {
    retry_times_.erase(retry_times_.begin());
    placement_due_ = true;
  }
  if (!placement_due_ || now.monotonic < next_placement_) return;
  placement_due_ = false;
  std::vector<PlacementRequest> requests;
  requests.reserve(queued_.size());
  for (const auto& [order, live] : queued_) {
    requests.push_back(ToRequest(live->job, now.monotonic < live->retry_at));
  }
  std::vector<PlacementWorker> workers;
  for (const auto& [id, known] : workers_.workers()) {
    if (known.connected && known.open()) workers.push_back(ToPlacementWorker(id, known));
  }
  const PlacementPlan plan = PlanPlacement(std::move(requests), std::move(workers));
  for (const WaitingJob& waiting : plan.waiting) {
    LiveJob& live = *FindLive(waiting.job);
    live.wait = waiting.reason;
    live.jobs_ahead = waiting.jobs_ahead;
  }
  for (const PlacedJob& placed : plan.placed) {
    LiveJob& live = *FindLive(placed.job);
    JobEditor editor(live.job, now.date);
    const std::string& incarnation = workers_.Find(placed.worker)->record.incarnation();
    // Only queued jobs were asked about, and those can be assigned.
    if (!editor.Assign(placed.worker, incarnation, placed.device_ids).ok()) continue;
    handed.push_back(Apply(live, std::move(editor), now));
  }
  const common::MonotonicTime end = Now().monotonic;
  next_placement_ = end + kRestPerPlacement * (end - now.monotonic);
}

}  // namespace longlora::server
