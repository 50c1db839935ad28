// What happens without a caller: leases lapse, back-offs end, jobs are placed.
#include <algorithm>
#include <memory>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/threads/threads.h"
#include "server/scheduler/run_limits.h"
#include "server/scheduler/scheduler.h"
#include "server/store/resource_names.h"
#include "server/store/timestamps.h"

namespace longlora::server {
namespace {

// After so many, others get the lock.
constexpr size_t kAssignmentsPerHold = 50;

// How often limits of time are looked at; they are of minutes and more.
constexpr absl::Duration kLimitCheckInterval = absl::Seconds(1);

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
    EnforceLimits(now, handed);
  }
  Place(handed);
  // A change that the store refused was taken back; the next tick tries again.
  Await(handed).IgnoreError();
}

void Scheduler::AwaitWork(absl::Duration timeout) {
  absl::MutexLock lock(&mutex_);
  const absl::Duration rest = next_placement_ - Now().monotonic;
  if (placement_due_ && rest > absl::ZeroDuration()) {
    bool never = false;
    common::AwaitWithTimeout(&mutex_, absl::Condition(&never), std::min(rest, timeout));
    return;
  }
  common::AwaitWithTimeout(&mutex_, absl::Condition(&placement_due_), timeout);
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

void Scheduler::EnforceLimits(Moment now, std::vector<Handed>& handed) {
  if (now.monotonic < next_limit_check_) return;
  next_limit_check_ = now.monotonic + kLimitCheckInterval;
  for (const auto& [order, live] : active_) {
    const std::optional<v1::Eviction> limit =
        BrokenLimit(live->job.record.job(), now.monotonic - live->attempt_start,
                    options_.ready_timeout, options_.queues);
    if (!limit.has_value()) continue;
    JobEditor editor(live->job, now.date);
    editor.Evict(limit->reason(), limit->message());
    if (editor.changed()) handed.push_back(Apply(*live, std::move(editor), now));
  }
}

void Scheduler::ForgetOldWorkers(Moment now) {
  // Its record in the store ends as soon as the store gets to it; after a crash before that, the
  // worker is forgotten once more.
  for (std::string& name : workers_.ForgetBefore(now.date - options_.worker_retention)) {
    dependencies_.store->EnqueueForgetWorker(std::move(name));
  }
}

void Scheduler::Place(std::vector<Handed>& handed) {
  std::optional<PlacementView> view = BeginPlacement();
  if (!view.has_value()) return;
  job_queue_.Take(std::move(view->queue_changes));
  PlacementInput input;
  input.jobs = job_queue_.Requests(view->now.monotonic);
  input.usage = UsageAt(view->now.date, view->usage, view->running);
  input.workers = std::move(view->workers);
  input.running = std::move(view->running);
  input.queues = &options_.queues;
  const PlacementPlan plan = PlanPlacement(input);
  common::Yield();
  NoteWaiting(std::make_shared<WaitingList>(input, plan, view->now.date));
  Preempt(plan, handed);
  Assign(input, plan, handed);
  EndPlacement(view->now.monotonic, plan.retry_after);
}

void Scheduler::Preempt(const PlacementPlan& plan, std::vector<Handed>& handed) {
  absl::MutexLock lock(&mutex_);
  for (const PreemptedJob& preempted : plan.preempted) {
    LiveJob* const live = FindLive(preempted.job);
    const LiveJob* const wants = FindLive(preempted.in_favor_of);
    if (live == nullptr || wants == nullptr) continue;
    if (wants->job.record.job().state() != v1::FineTuneJob::QUEUED) continue;
    const Moment now = Now();
    JobEditor editor(live->job, now.date);
    editor.Evict("PREEMPTED",
                 absl::StrCat("its devices are wanted for ", JobName(preempted.in_favor_of)));
    if (!editor.changed()) continue;
    ++counters_.jobs_preempted;
    handed.push_back(Apply(*live, std::move(editor), now));
  }
}

void Scheduler::Assign(const PlacementInput& input, const PlacementPlan& plan,
                       std::vector<Handed>& handed) {
  for (size_t next = 0; next < plan.placed.size();) {
    absl::MutexLock lock(&mutex_);
    const Moment now = Now();
    const size_t end = std::min(next + kAssignmentsPerHold, plan.placed.size());
    for (; next < end; ++next) {
      const PlacedJob& placed = plan.placed[next];
      if (!AssignOne(input.jobs[placed.request], placed, now, handed)) placement_due_ = true;
    }
  }
}

bool Scheduler::AssignOne(const PlacementRequest& request, const PlacedJob& placed, Moment now,
                          std::vector<Handed>& handed) {
  const auto queued = queued_.find(request.order);
  if (queued == queued_.end() || queued->second->stay != request.stay) return false;
  const KnownWorker* const worker = workers_.Find(placed.worker);
  if (worker == nullptr || !worker->takes_jobs() || !worker->HasFree(placed.device_ids)) {
    return false;
  }
  LiveJob& live = *queued->second;
  JobEditor editor(live.job, now.date);
  // Only queued jobs were asked about, and those can be assigned.
  if (!editor.Assign(placed.worker, worker->record.incarnation(), placed.device_ids).ok()) {
    return false;
  }
  handed.push_back(Apply(live, std::move(editor), now));
  return true;
}

}  // namespace longlora::server
