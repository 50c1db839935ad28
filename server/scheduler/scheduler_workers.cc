// The workers as their operators see and steer them: cordoned, drained, open.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status/status_macros.h"
#include "rpc/grpc_status.h"
#include "server/events/job_errors.h"
#include "server/scheduler/scheduler.h"
#include "server/store/resource_names.h"

namespace longlora::server {

v1::Worker Scheduler::View(const KnownWorker& known) {
  v1::Worker worker = known.record.worker();
  worker.set_state(known.connected ? v1::Worker::CONNECTED : v1::Worker::LOST);
  if (known.open()) worker.set_scheduling(v1::Worker::OPEN);
  for (const auto& [job, devices] : known.held) {
    for (v1::Device& device : *worker.mutable_devices()) {
      if (std::find(devices.begin(), devices.end(), device.id()) != devices.end()) {
        device.set_job(JobName(job));
      }
    }
  }
  return worker;
}

absl::StatusOr<std::vector<v1::Worker>> Scheduler::ListWorkers() {
  std::vector<v1::Worker> workers;
  absl::MutexLock lock(&mutex_);
  for (const auto& [id, known] : workers_.workers()) workers.push_back(View(known));
  return workers;
}

absl::StatusOr<v1::Worker> Scheduler::SetScheduling(absl::string_view worker,
                                                    v1::Worker::Scheduling scheduling) {
  LONGLORA_ASSIGN_OR_RETURN(const std::string id,
                            WithNameReason(ParseWorkerName(worker), worker, "name"));
  v1::Worker view;
  std::vector<Handed> handed;
  CommitTicket stored;
  {
    absl::MutexLock lock(&mutex_);
    const KnownWorker* known = workers_.SetScheduling(id, scheduling);
    if (known == nullptr) {
      return rpc::MakeError(absl::StatusCode::kNotFound,
                            absl::StrCat("there is no worker ", worker),
                            {"WORKER_NOT_FOUND", {{"worker", std::string(worker)}}, {}});
    }
    // If the store refuses it, the worker's next report stores it: what is wanted stays in memory.
    stored = dependencies_.store->EnqueueWorker(known->record);
    placement_due_ = true;
    Drain(Now(), handed);
    view = View(*known);
  }
  LONGLORA_RETURN_IF_ERROR(Await(handed));
  if (!stored.Wait().ok()) {
    return absl::UnavailableError("the server could not store the change; ask again");
  }
  return view;
}

void Scheduler::Drain(Moment now, std::vector<Handed>& handed) {
  for (const auto& [id, known] : workers_.workers()) {
    if (known.record.worker().scheduling() != v1::Worker::DRAINING) continue;
    Evict(id, "WORKER_DRAINED", absl::StrCat("workers/", id, " is being drained"), now, handed);
  }
}

void Scheduler::Evict(absl::string_view worker, absl::string_view reason, absl::string_view message,
                      Moment now, std::vector<Handed>& handed) {
  for (const auto& [job, devices] : workers_.Find(worker)->held) {
    LiveJob& live = *FindLive(job);
    JobEditor editor(live.job, now.date);
    editor.Evict(reason, message);
    if (editor.changed()) handed.push_back(Apply(live, std::move(editor), now));
  }
}

}  // namespace longlora::server
