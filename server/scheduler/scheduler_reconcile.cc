// What happens without a caller: leases lapse, back-offs end, jobs are placed.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/threads/threads.h"
#include "server/scheduler/run_limits.h"
#include "server/scheduler/scheduler.h"
#include "server/store/resource_names.h"
#include "server/store/timestamps.h"

namespace longlora::server {
namespace {

// A pass looks at the whole queue under the lock, so a long queue must not be looked at for every
// job that comes or goes: passes take a tenth of the time, and each places all that there is room
// for.
constexpr int kRestPerPlacement = 9;

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
  for (const auto& [id, worker] : workers_.workers()) {
    for (const auto& [job, devices] : worker.held) {
      LiveJob& live = *FindLive(job);
      const std::optional<v1::Eviction> limit =
          BrokenLimit(live.job.record.job(), now.monotonic - live.attempt_start,
                      options_.ready_timeout, options_.queues);
      if (!limit.has_value()) continue;
      JobEditor editor(live.job, now.date);
      editor.Evict(limit->reason(), limit->message());
      if (editor.changed()) handed.push_back(Apply(live, std::move(editor), now));
    }
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
  const PlacementInput input = DescribePlacement(now);
  const PlacementPlan plan = PlanPlacement(input);
  NoteWaiting(input, plan, now);
  for (const PreemptedJob& preempted : plan.preempted) {
    LiveJob& live = *FindLive(preempted.job);
    JobEditor editor(live.job, now.date);
    editor.Evict("PREEMPTED",
                 absl::StrCat("its devices are wanted for ", JobName(preempted.in_favor_of)));
    if (!editor.changed()) continue;
    ++counters_.jobs_preempted;
    handed.push_back(Apply(live, std::move(editor), now));
  }
  if (plan.retry_after < absl::InfiniteDuration()) {
    retry_times_.insert((now.monotonic + plan.retry_after).since_start());
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
