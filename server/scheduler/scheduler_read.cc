// What users see of live jobs, and the figures for metrics.
#include <utility>

#include "common/status/status_macros.h"
#include "server/events/job_errors.h"
#include "server/scheduler/scheduler.h"
#include "server/store/timestamps.h"

namespace longlora::server {
v1::FineTuneJob Scheduler::View(const LiveJob& live) {
  v1::FineTuneJob view = ToFineTuneJob(live.job);
  if (view.state() != v1::FineTuneJob::QUEUED) return view;
  const WaitingList::Entry* waiting = FindWaiting(live);
  if (waiting == nullptr) return view;
  v1::ScheduleReason& reason = *view.mutable_schedule_reason();
  reason.set_code(std::string(WaitReasonCode(waiting->reason)));
  reason.set_message(WaitMessage(waiting->reason, view.spec()));
  reason.set_jobs_ahead(waiting->jobs_ahead);
  if (waiting->estimated_start < absl::InfiniteFuture()) {
    *reason.mutable_estimated_start_time() = ToTimestamp(waiting->estimated_start);
  }
  return view;
}

Answer<JobReader::Sight> Scheduler::BeginLook(absl::string_view job) {
  LONGLORA_ASSIGN_OR_RETURN(std::string id, JobIdOf(job));
  std::optional<Sight> sight;
  CommitTicket pending;
  {
    absl::MutexLock lock(&mutex_);
    if (const LiveJob* live = FindLive(id); live != nullptr) {
      sight = Sight{live->job, View(*live)};
      pending = live->pending;
    }
  }
  return {pending,
          [this, id = std::move(id), sight = std::move(sight),
           pending]() mutable -> absl::StatusOr<Sight> {
            if (sight.has_value() && pending.Wait().ok()) return *std::move(sight);
            return LookInto(*dependencies_.store, id);
          }};
}

absl::StatusOr<JobPage> Scheduler::ListJobs(const JobQuery& query) {
  LONGLORA_ASSIGN_OR_RETURN(const StoredPage stored, ReadPage(*dependencies_.store, query));
  JobPage page;
  page.next_before_order = stored.next_before_order;
  absl::MutexLock lock(&mutex_);
  for (const StoredJob& job : stored.jobs) {
    const LiveJob* live = FindLive(job.id);
    // What is in memory may be ahead of what is durable; the reason to wait belongs to one
    // revision.
    const bool current = live != nullptr && live->job.revision == job.revision;
    v1::FineTuneJob view = ToFineTuneJob(job);
    if (current) *view.mutable_schedule_reason() = View(*live).schedule_reason();
    if (view.schedule_reason().code().empty()) view.clear_schedule_reason();
    page.jobs.push_back(std::move(view));
  }
  return page;
}

absl::StatusOr<std::vector<ModelHost>> Scheduler::FindHosts(const v1::FineTuneSpec& spec) {
  std::vector<ModelHost> hosts;
  absl::MutexLock lock(&mutex_);
  LONGLORA_RETURN_IF_ERROR(CheckModel(spec));
  for (const auto& [id, known] : workers_.workers()) {
    const internal::v1::WorkerRecord& record = known.record;
    if (!CanRead(spec.base_model(),
                 {record.worker().models().begin(), record.worker().models().end()},
                 {record.allowed_roots().begin(), record.allowed_roots().end()})) {
      continue;
    }
    ModelHost& host = hosts.emplace_back();
    host.worker = record.worker();
    for (const worker::v1::ModelConfig& config : record.model_configs()) {
      if (config.model() == spec.base_model()) host.config_json = config.config_json();
    }
  }
  return hosts;
}

SchedulerSnapshot Scheduler::Snapshot() {
  SchedulerSnapshot snapshot;
  snapshot.queues = ListQueues();
  for (int state = v1::FineTuneJob::QUEUED; state <= v1::FineTuneJob::State_MAX; ++state) {
    snapshot.jobs_by_state[static_cast<v1::FineTuneJob::State>(state)] = 0;
  }
  for (const WaitReason reason : kWaitReasons) {
    snapshot.queued_by_reason[std::string(WaitReasonCode(reason))] = 0;
  }
  snapshot.devices = {{"cpu", {}}, {"cuda", {}}};

  absl::MutexLock lock(&mutex_);
  for (const auto& [state, count] : jobs_by_state_) snapshot.jobs_by_state[state] = count;
  for (const auto& [reason, count] : waiting_by_reason_) {
    snapshot.queued_by_reason[std::string(WaitReasonCode(reason))] = count;
  }
  if (!queued_.empty()) {
    snapshot.oldest_queued_time =
        FromTimestamp(queued_.begin()->second->job.record.job().create_time());
  }
  for (const auto& [id, known] : workers_.workers()) {
    ++(known.connected ? snapshot.workers_connected : snapshot.workers_lost);
    if (known.connected) {
      for (const v1::Device& device : known.record.worker().devices()) {
        ++snapshot.devices[device.kind()].total;
      }
    }
    for (const auto& [job, devices] : known.held) {
      const StoredJob& held = FindLive(job)->job;
      if (known.connected) {
        snapshot.devices[std::string(DeviceKindOf(held.record.job().spec()))].used +=
            static_cast<int64_t>(devices.size());
      }
      LiveJobSnapshot live{
          job,         id, PresentAttempt(held), held.record.job().state(), held.cursor.progress,
          std::nullopt};
      if (held.record.checkpoints_size() > 0) {
        live.last_checkpoint_time =
            FromTimestamp(held.record.checkpoints().rbegin()->create_time());
      }
      snapshot.live_jobs.push_back(std::move(live));
    }
  }
  snapshot.counters = counters_;
  return snapshot;
}

}  // namespace longlora::server
