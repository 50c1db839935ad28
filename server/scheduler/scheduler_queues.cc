// The queues as their users see them, and why a job waits.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "rpc/grpc_status.h"
#include "server/scheduler/scheduler.h"
#include "server/store/resource_names.h"

namespace longlora::server {
namespace {

std::string QuotaText(absl::string_view queue, const QueueConfig& config, absl::string_view kind,
                      int32_t used) {
  const DeviceQuotaConfig quota = config.QuotaOf(kind);
  return absl::StrCat("queue ", queue, " uses ", used, " ", kind, " device(s) and may use ",
                      config.LimitOf(kind).value_or(0), " (nominal ", quota.nominal,
                      ", borrowed at most ", quota.borrowing_limit.value_or(0), ")");
}

}  // namespace

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

std::string Scheduler::WaitMessage(WaitReason reason, const v1::FineTuneSpec& spec) {
  const absl::string_view queue = QueueOf(spec);
  const std::string devices =
      absl::StrCat(DeviceCountOf(spec), " ", DeviceKindOf(spec), " device(s)");
  switch (reason) {
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
  const Moment now = Now();
  std::map<std::string, double, std::less<>> usage =
      UsageAt(now.date, usage_, DescribeRunning(now));
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
  for (const auto& [order, live] : active_) {
    const StoredJob& job = live->job;
    const auto found = by_name.find(QueueOf(job.record.job().spec()));
    if (found == by_name.end() || !job.cursor.progress.has_ledger()) continue;
    AddLedger(job.cursor.progress.ledger(), *found->second->mutable_ledger());
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
  // A long list is not walked under the lock: only the jobs of the page are looked up.
  const WaitingList& list = *waiting_;
  const std::vector<uint32_t>* const of_queue = queue.empty() ? nullptr : &list.OfQueue(queue);
  const size_t size = of_queue == nullptr ? list.entries().size() : of_queue->size();
  const size_t begin = std::min(static_cast<size_t>(offset), size);
  const size_t end = std::min(begin + static_cast<size_t>(limit), size);
  if (end < size) page.next_offset = static_cast<int32_t>(end);
  for (size_t i = begin; i < end; ++i) {
    const size_t index = of_queue == nullptr ? i : (*of_queue)[i];
    const WaitingList::Entry& waiting = list.entries()[index];
    const auto found = queued_.find(waiting.order);
    if (found == queued_.end() || found->second->stay != waiting.stay) continue;  // not any more
    const v1::FineTuneJob view = View(*found->second);
    const v1::FineTuneSpec& spec = view.spec();
    v1::QueuedJob& entry = page.jobs.emplace_back();
    entry.set_place(static_cast<int32_t>(index) + 1);
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
