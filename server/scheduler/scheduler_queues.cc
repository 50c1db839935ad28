// The queues: what placement is told of them, what their users see.
#include <algorithm>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/status/status_macros.h"
#include "rpc/grpc_status.h"
#include "server/scheduler/device_pools.h"
#include "server/scheduler/scheduler.h"
#include "server/scheduler/start_estimate.h"
#include "server/store/resource_names.h"
#include "server/store/timestamps.h"

namespace longlora::server {
namespace {

// Past usage is read back from this many of the newest jobs: what is older has mostly decayed, and
// a server must not take long to start.
constexpr int32_t kPastJobsMax = 10'000;
constexpr int32_t kPastJobsPerPage = 1000;
// How many of those that wait are told when they will start.
constexpr size_t kEstimatesMax = 1000;

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

std::string QuotaText(absl::string_view queue, const QueueConfig& config, absl::string_view kind,
                      int32_t used) {
  const DeviceQuotaConfig quota = config.QuotaOf(kind);
  return absl::StrCat("queue ", queue, " uses ", used, " ", kind, " device(s) and may use ",
                      config.LimitOf(kind).value_or(0), " (nominal ", quota.nominal,
                      ", borrowed at most ", quota.borrowing_limit.value_or(0), ")");
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

void Scheduler::CountJob(const LiveJob& live, int32_t sign) {
  const v1::FineTuneJob& job = live.job.record.job();
  const bool running = HasActiveAttempt(job.state());
  if (!running && job.state() != v1::FineTuneJob::QUEUED) return;
  const std::string queue(QueueOf(job.spec()));
  QueueCount& count = queue_counts_[queue];
  if (running) {
    count.running += sign;
    count.devices[std::string(DeviceKindOf(job.spec()))] += sign * DeviceCountOf(job.spec());
  } else {
    count.queued += sign;
  }
  if (count.running == 0 && count.queued == 0) queue_counts_.erase(queue);
}

PlacementInput Scheduler::DescribePlacement(Moment now) {
  PlacementInput input;
  input.queues = &options_.queues;
  input.jobs.reserve(queued_.size());
  for (const auto& [order, live] : queued_) {
    input.jobs.push_back(ToRequest(live->job, now.monotonic < live->retry_at));
  }
  for (const auto& [id, known] : workers_.workers()) {
    if (known.connected && known.open()) input.workers.push_back(ToPlacementWorker(id, known));
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
  waiting_.clear();
  waiting_.reserve(plan.waiting.size());
  for (const WaitingJob& waiting : plan.waiting) {
    const int64_t order = input.jobs[waiting.request].order;
    LiveJob& live = *queued_.find(order)->second;
    live.wait = waiting.reason;
    live.jobs_ahead = waiting.jobs_ahead;
    live.estimated_start.reset();
    waiting_.push_back(order);
  }
  EstimateWaiting(input, now);
}

void Scheduler::EstimateWaiting(const PlacementInput& input, Moment now) {
  std::vector<LiveJob*> jobs;
  std::vector<EstimatedJob> wanted;
  for (const int64_t order : waiting_) {
    if (jobs.size() == kEstimatesMax) break;
    LiveJob& live = *queued_.find(order)->second;
    if (live.wait != WaitReason::kWaitingForDevices) continue;
    const PlacementRequest request = ToRequest(live.job, false);
    EstimatedJob job{request.device_kind, request.device_count, {}, absl::InfiniteDuration()};
    for (const PlacementWorker& worker : input.workers) {
      if (Suits(worker, request)) job.workers.push_back(worker.id);
    }
    jobs.push_back(&live);
    wanted.push_back(std::move(job));
  }
  if (jobs.empty()) return;
  const std::vector<absl::Duration> starts = EstimateStarts(DescribeDevices(input), wanted);
  for (size_t i = 0; i < jobs.size(); ++i) {
    if (starts[i] < absl::InfiniteDuration()) jobs[i]->estimated_start = now.date + starts[i];
  }
}

std::vector<BusyDevice> Scheduler::DescribeDevices(const PlacementInput& input) {
  std::vector<BusyDevice> devices;
  for (const PlacementWorker& worker : input.workers) {
    for (const PlacementWorker::DeviceState& device : worker.devices) {
      if (!device.used) devices.push_back({worker.id, device.kind, absl::ZeroDuration()});
    }
  }
  for (const RunningJob& job : input.running) {
    const absl::Duration left =
        job.leaving ? absl::ZeroDuration() : RemainingOf(FindLive(job.id)->job);
    for (int32_t i = 0; i < job.device_count; ++i) {
      devices.push_back({job.worker, job.device_kind, left});
    }
  }
  return devices;
}

std::string Scheduler::WaitMessage(const LiveJob& live) {
  const v1::FineTuneSpec& spec = live.job.record.job().spec();
  const absl::string_view queue = QueueOf(spec);
  const std::string devices =
      absl::StrCat(DeviceCountOf(spec), " ", DeviceKindOf(spec), " device(s)");
  switch (*live.wait) {
    case WaitReason::kNoWorker:
      return "no worker is connected, or all are cordoned";
    case WaitReason::kNoModel:
      return absl::StrCat(
          "no connected worker has the base model \"", spec.base_model(), "\"",
          spec.method().initial_adapter().empty() ? "" : " and the initial adapter",
          spec.resources().worker_labels().empty() ? "" : " and the labels that it asks for");
    case WaitReason::kNoDevices:
      return absl::StrCat("no connected worker that has the model has ", devices);
    case WaitReason::kWaitingForDevices:
      return absl::StrCat("waits until ", devices, " of one worker are free");
    case WaitReason::kWaitingForQuota:
    case WaitReason::kQuotaTooSmall:
      if (const QueueConfig* config = options_.queues.Find(queue); config != nullptr) {
        const auto count = queue_counts_.find(queue);
        const auto used = count->second.devices.find(DeviceKindOf(spec));
        return absl::StrCat(QuotaText(queue, *config, DeviceKindOf(spec),
                                      used == count->second.devices.end() ? 0 : used->second),
                            ", the job wants ", devices);
      }
      [[fallthrough]];
    case WaitReason::kNoQueue:
      return absl::StrCat("queue ", queue, " is no longer configured at this server");
    case WaitReason::kBackOff:
      return "waits before another attempt after a failure";
  }
  return "";
}

v1::Queue Scheduler::DescribeQueue(const std::string& name, double usage) {
  v1::Queue queue;
  queue.set_name(QueueName(name));
  const QueueConfig* config = options_.queues.Find(name);
  queue.set_configured(config != nullptr);
  queue.set_weight(config == nullptr ? 1.0 : config->weight);
  queue.set_weighted_usage(usage / queue.weight());
  std::map<std::string, int32_t, std::less<>> used;
  if (const auto count = queue_counts_.find(name); count != queue_counts_.end()) {
    queue.set_running_job_count(count->second.running);
    queue.set_queued_job_count(count->second.queued);
    used = count->second.devices;
  }
  if (config != nullptr) {
    for (const auto& [kind, quota] : config->quotas) used.try_emplace(kind, 0);
  }
  for (const auto& [kind, devices] : used) {
    v1::DeviceQuota& item = *queue.add_quotas();
    item.set_kind(kind);
    item.set_used(devices);
    if (config == nullptr) continue;
    const DeviceQuotaConfig quota = config->QuotaOf(kind);
    item.set_nominal(quota.nominal);
    if (quota.borrowing_limit.has_value()) item.set_borrowing_limit(*quota.borrowing_limit);
  }
  if (const auto ended = counters_.ledgers.find(name); ended != counters_.ledgers.end()) {
    *queue.mutable_ledger() = ended->second;
  }
  return queue;
}

std::vector<v1::Queue> Scheduler::ListQueues() {
  absl::MutexLock lock(&mutex_);
  std::map<std::string, double, std::less<>> usage = UsageAt(Now());
  for (const auto& [name, config] : options_.queues.queues) usage.try_emplace(name, 0.0);
  for (const auto& [name, count] : queue_counts_) usage.try_emplace(name, 0.0);
  std::vector<v1::Queue> queues;
  std::map<std::string, v1::Queue*, std::less<>> by_name;
  queues.reserve(usage.size());
  for (const auto& [name, seconds] : usage) {
    // One that left nothing but a past is no queue any more.
    if (options_.queues.Find(name) == nullptr && !queue_counts_.contains(name)) continue;
    queues.push_back(DescribeQueue(name, seconds));
    by_name[name] = &queues.back();
  }
  for (const auto& [worker, known] : workers_.workers()) {
    for (const auto& [id, devices] : known.held) {
      const StoredJob& job = FindLive(id)->job;
      const auto found = by_name.find(QueueOf(job.record.job().spec()));
      if (found == by_name.end() || !job.cursor.progress.has_ledger()) continue;
      AddLedger(job.cursor.progress.ledger(), *found->second->mutable_ledger());
    }
  }
  return queues;
}

absl::StatusOr<QueuedJobPage> Scheduler::ListQueuedJobs(absl::string_view queue, int32_t offset,
                                                        int32_t limit) {
  QueuedJobPage page;
  absl::MutexLock lock(&mutex_);
  if (!queue.empty() && options_.queues.Find(queue) == nullptr && !queue_counts_.contains(queue)) {
    return rpc::MakeError(absl::StatusCode::kNotFound, absl::StrCat("there is no queue ", queue),
                          {"QUEUE_NOT_FOUND", {{"queue", std::string(queue)}}, {}});
  }
  int32_t place = 0;
  int32_t seen = 0;
  for (const int64_t order : waiting_) {
    const auto found = queued_.find(order);
    if (found == queued_.end()) continue;  // placed or ended since
    ++place;
    const v1::FineTuneJob view = View(*found->second);
    const v1::FineTuneSpec& spec = view.spec();
    if (!queue.empty() && QueueOf(spec) != queue) continue;
    if (seen++ < offset) continue;
    if (static_cast<int32_t>(page.jobs.size()) == limit) {
      page.next_offset = offset + limit;
      break;
    }
    v1::QueuedJob& entry = page.jobs.emplace_back();
    entry.set_place(place);
    entry.set_job(view.name());
    entry.set_display_name(spec.display_name());
    entry.set_queue(std::string(QueueOf(spec)));
    entry.set_priority(spec.priority());
    entry.set_device_count(DeviceCountOf(spec));
    entry.set_device_kind(std::string(DeviceKindOf(spec)));
    *entry.mutable_reason() = view.schedule_reason();
    *entry.mutable_create_time() = view.create_time();
  }
  return page;
}

}  // namespace longlora::server
