// What placement is told of jobs, workers and queues, and what becomes of its answer to those that
// wait.
#include <algorithm>
#include <iterator>
#include <set>
#include <utility>

#include "absl/strings/strip.h"
#include "common/status/status_macros.h"
#include "common/threads/threads.h"
#include "server/scheduler/scheduler.h"
#include "server/store/timestamps.h"

namespace longlora::server {
namespace {

// Past usage is read back from this many of the newest jobs: what is older has mostly decayed, and
// a server must not take long to start.
constexpr int32_t kPastJobsMax = 10'000;
constexpr int32_t kPastJobsPerPage = 1000;

// A pass looks at the whole queue, so a long queue must not be looked at for every job that comes
// or goes: passes take a tenth of the time, and each places all that there is room for.
constexpr int kRestPerPlacement = 9;

PlacementWorker ToPlacementWorker(const std::string& id, const KnownWorker& known) {
  PlacementWorker worker;
  worker.id = id;
  worker.models.assign(known.record.worker().models().begin(),
                       known.record.worker().models().end());
  worker.labels.assign(known.record.worker().labels().begin(),
                       known.record.worker().labels().end());
  worker.allowed_roots.assign(known.record.allowed_roots().begin(),
                              known.record.allowed_roots().end());
  std::set<absl::string_view> used;
  for (const auto& [job, devices] : known.held) used.insert(devices.begin(), devices.end());
  for (const v1::Device& device : known.record.worker().devices()) {
    worker.devices.push_back({device.id(), device.kind(), used.contains(device.id())});
  }
  return worker;
}

// Since when what the present attempt computed is in no checkpoint.
absl::Time UnsavedSince(const internal::v1::JobRecord& record) {
  const v1::Attempt& attempt = *record.job().attempts().rbegin();
  absl::Time since = FromTimestamp(attempt.start_time());
  for (const v1::Checkpoint& checkpoint : record.checkpoints()) {
    if (checkpoint.attempt() != attempt.number()) continue;
    since = std::max(since, FromTimestamp(checkpoint.create_time()));
  }
  return since;
}

// How long the present attempt will still need.
absl::Duration RemainingOf(const StoredJob& job) {
  const v1::Progress& progress = job.cursor.progress;
  return progress.has_remaining_seconds() ? absl::Seconds(progress.remaining_seconds())
                                          : absl::InfiniteDuration();
}

}  // namespace

absl::Status Scheduler::LoadUsage() {
  JobQuery query;
  query.states = {v1::FineTuneJob::SUCCEEDED, v1::FineTuneJob::FAILED, v1::FineTuneJob::CANCELLED};
  query.limit = kPastJobsPerPage;
  std::vector<StoredJob> jobs;
  for (int32_t read = 0; read < kPastJobsMax; read += query.limit) {
    LONGLORA_ASSIGN_OR_RETURN(std::vector<StoredJob> page, dependencies_.store->ListJobs(query));
    const bool last = static_cast<int32_t>(page.size()) < query.limit;
    if (!page.empty()) query.before_order = page.back().order;
    std::move(page.begin(), page.end(), std::back_inserter(jobs));
    if (last) break;
  }
  absl::MutexLock lock(&mutex_);
  const auto add = [&](const StoredJob& job) {
    for (const v1::Attempt& attempt : job.record.job().attempts()) {
      if (attempt.has_end_time()) usage_.AddEnded(job.record.job(), attempt);
    }
  };
  std::for_each(jobs.rbegin(), jobs.rend(), add);
  for (const auto& [id, live] : live_jobs_) add(live.job);
  return absl::OkStatus();
}

std::optional<Scheduler::PlacementView> Scheduler::BeginPlacement() {
  absl::MutexLock lock(&mutex_);
  common::Await(&mutex_, absl::Condition(+[](bool* placing) { return !*placing; }, &placing_));
  const Moment now = Now();
  while (!retry_times_.empty() && now.monotonic.since_start() >= *retry_times_.begin()) {
    retry_times_.erase(retry_times_.begin());
    placement_due_ = true;
  }
  if (!placement_due_ || now.monotonic < next_placement_) return std::nullopt;
  placement_due_ = false;
  placing_ = true;
  PlacementView view{now, std::exchange(queue_changes_, {}), {}, DescribeRunning(now), usage_};
  for (const auto& [id, known] : workers_.workers()) {
    if (known.takes_jobs()) view.workers.push_back(ToPlacementWorker(id, known));
  }
  return view;
}

void Scheduler::EndPlacement(common::MonotonicTime begin, absl::Duration retry_after) {
  absl::MutexLock lock(&mutex_);
  placing_ = false;
  const common::MonotonicTime end = Now().monotonic;
  next_placement_ = end + kRestPerPlacement * (end - begin);
  if (retry_after < absl::InfiniteDuration()) {
    retry_times_.insert((begin + retry_after).since_start());
  }
}

std::vector<RunningJob> Scheduler::DescribeRunning(Moment now) {
  std::vector<RunningJob> running;
  running.reserve(active_.size());
  for (const auto& [order, live] : active_) {
    const v1::FineTuneJob& job = live->job.record.job();
    const v1::Attempt& attempt = *job.attempts().rbegin();
    RunningJob& entry = running.emplace_back();
    entry.id = live->job.id;
    entry.queue = std::string(QueueOf(job.spec()));
    entry.priority = job.spec().priority();
    entry.worker = std::string(absl::StripPrefix(attempt.worker(), "workers/"));
    entry.device_kind = std::string(DeviceKindOf(job.spec()));
    entry.device_count = live->job.record.attempts().rbegin()->device_ids_size();
    entry.leaving = job.state() == v1::FineTuneJob::CANCELLING ||
                    job.state() == v1::FineTuneJob::PAUSING || attempt.has_eviction();
    entry.unsaved = std::max(absl::ZeroDuration(), now.date - UnsavedSince(live->job.record));
    entry.run_time = now.monotonic - live->attempt_start;
    entry.remaining = RemainingOf(live->job);
  }
  return running;
}

void Scheduler::NoteWaiting(std::shared_ptr<const WaitingList> waiting) {
  std::map<WaitReason, int64_t> by_reason = waiting->CountByReason();
  absl::MutexLock lock(&mutex_);
  waiting_.swap(waiting);  // the one before ends after the lock
  waiting_by_reason_.swap(by_reason);
  for (const QueueChange& change : queue_changes_) {
    if (change.entry.has_value()) continue;
    const WaitingList::Entry* left = waiting_->Find(change.order, change.stay);
    if (left != nullptr) --waiting_by_reason_[left->reason];
  }
}

const WaitingList::Entry* Scheduler::FindWaiting(const LiveJob& live) {
  return waiting_->Find(live.job.order, live.stay);
}

}  // namespace longlora::server
