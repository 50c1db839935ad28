// What placement is told of jobs, workers and queues, and what becomes of its answer to those that
// wait.
#include <algorithm>
#include <iterator>
#include <set>
#include <tuple>
#include <utility>

#include "common/status/status_macros.h"
#include "server/scheduler/device_pools.h"
#include "server/scheduler/scheduler.h"
#include "server/scheduler/start_estimate.h"
#include "server/store/timestamps.h"

namespace longlora::server {
namespace {

// Past usage is read back from this many of the newest jobs: what is older has mostly decayed, and
// a server must not take long to start.
constexpr int32_t kPastJobsMax = 10'000;
constexpr int32_t kPastJobsPerPage = 1000;
// How many of those that wait are told when they will start.
constexpr size_t kEstimatesMax = 200;

PlacementRequest ToRequest(const StoredJob& job, bool backing_off) {
  const v1::FineTuneSpec& spec = job.record.job().spec();
  PlacementRequest request;
  request.id = job.id;
  request.queue = QueueOf(spec);
  request.priority = spec.priority();
  request.order = job.order;
  request.base_model = spec.base_model();
  request.initial_adapter = spec.method().initial_adapter();
  request.worker_labels.assign(spec.resources().worker_labels().begin(),
                               spec.resources().worker_labels().end());
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

PlacementInput Scheduler::DescribePlacement(Moment now) {
  PlacementInput input;
  input.queues = &options_.queues;
  input.jobs.reserve(queued_.size());
  for (const auto& [order, live] : queued_) {
    input.jobs.push_back(ToRequest(live->job, now.monotonic < live->retry_at));
  }
  for (const auto& [id, known] : workers_.workers()) {
    if (known.takes_jobs()) input.workers.push_back(ToPlacementWorker(id, known));
  }
  input.running = DescribeRunning(now);
  input.usage = UsageAt(now);
  return input;
}

std::vector<RunningJob> Scheduler::DescribeRunning(Moment now) {
  std::vector<RunningJob> running;
  for (const auto& [worker, known] : workers_.workers()) {
    for (const auto& [id, devices] : known.held) {
      const LiveJob& live = *FindLive(id);
      const v1::FineTuneJob& job = live.job.record.job();
      RunningJob entry;
      entry.id = live.job.id;
      entry.queue = QueueOf(job.spec());
      entry.priority = job.spec().priority();
      entry.worker = worker;
      entry.device_kind = DeviceKindOf(job.spec());
      entry.device_count = static_cast<int32_t>(devices.size());
      entry.leaving = job.state() == v1::FineTuneJob::CANCELLING ||
                      job.state() == v1::FineTuneJob::PAUSING ||
                      job.attempts().rbegin()->has_eviction();
      entry.unsaved = std::max(absl::ZeroDuration(), now.date - UnsavedSince(live.job.record));
      entry.run_time = now.monotonic - live.attempt_start;
      running.push_back(entry);
    }
  }
  return running;
}

std::map<std::string, double, std::less<>> Scheduler::UsageAt(Moment now) {
  std::map<std::string, double, std::less<>> usage = usage_.At(now.date);
  for (const auto& [worker, known] : workers_.workers()) {
    for (const auto& [id, devices] : known.held) {
      const LiveJob& live = *FindLive(id);
      usage[std::string(QueueOf(live.job.record.job().spec()))] += DecayedUse(
          static_cast<int>(devices.size()), now.date - (now.monotonic - live.attempt_start),
          now.date, now.date, usage_.half_life());
    }
  }
  return usage;
}

void Scheduler::NoteWaiting(const PlacementInput& input, const PlacementPlan& plan, Moment now) {
  // Those that were asked about, in that order: looking each of a long queue up takes too long.
  std::vector<LiveJob*> asked;
  asked.reserve(queued_.size());
  for (const auto& [order, live] : queued_) asked.push_back(live);
  waiting_.clear();
  waiting_.reserve(plan.waiting.size());
  for (const WaitingJob& waiting : plan.waiting) {
    LiveJob& live = *asked[waiting.request];
    live.wait = waiting.reason;
    live.jobs_ahead = waiting.jobs_ahead;
    live.estimated_start.reset();
    waiting_.push_back(live.job.order);
  }
  EstimateWaiting(input, now);
}

void Scheduler::EstimateWaiting(const PlacementInput& input, Moment now) {
  BusyWorkers busy = DescribeBusy(input);
  // Many jobs ask for the same; each wish is compared with the workers once.
  std::map<std::tuple<absl::string_view, absl::string_view, absl::string_view,
                      std::vector<absl::string_view>>,
           std::vector<size_t>>
      pools_by_wish;
  std::vector<LiveJob*> jobs;
  std::vector<EstimatedJob> wanted;
  for (const int64_t order : waiting_) {
    if (jobs.size() == kEstimatesMax) break;
    LiveJob& live = *queued_.find(order)->second;
    if (live.wait != WaitReason::kWaitingForDevices) continue;
    const PlacementRequest request = ToRequest(live.job, false);
    const auto [wish, is_new] = pools_by_wish.try_emplace(
        {request.base_model, request.initial_adapter, request.device_kind, request.worker_labels});
    if (is_new) {
      for (const PlacementWorker& worker : input.workers) {
        const auto pool = busy.indices.find({worker.id, request.device_kind});
        if (pool != busy.indices.end() && Suits(worker, request)) {
          wish->second.push_back(pool->second);
        }
      }
    }
    jobs.push_back(&live);
    wanted.push_back({&wish->second, request.device_count, absl::InfiniteDuration()});
  }
  if (jobs.empty()) return;
  const std::vector<absl::Duration> starts = EstimateStarts(std::move(busy.pools), wanted);
  for (size_t i = 0; i < jobs.size(); ++i) {
    if (starts[i] < absl::InfiniteDuration()) jobs[i]->estimated_start = now.date + starts[i];
  }
}

Scheduler::BusyWorkers Scheduler::DescribeBusy(const PlacementInput& input) {
  BusyWorkers busy;
  const auto add = [&](absl::string_view worker, absl::string_view kind, absl::Duration left) {
    const auto [index, is_new] = busy.indices.try_emplace({worker, kind}, busy.pools.size());
    if (is_new) busy.pools.emplace_back();
    busy.pools[index->second].push_back(left);
  };
  for (const PlacementWorker& worker : input.workers) {
    for (const PlacementWorker::DeviceState& device : worker.devices) {
      if (!device.used) add(worker.id, device.kind, absl::ZeroDuration());
    }
  }
  for (const RunningJob& job : input.running) {
    const absl::Duration left =
        job.leaving ? absl::ZeroDuration() : RemainingOf(FindLive(job.id)->job);
    for (int32_t i = 0; i < job.device_count; ++i) add(job.worker, job.device_kind, left);
  }
  return busy;
}

}  // namespace longlora::server
