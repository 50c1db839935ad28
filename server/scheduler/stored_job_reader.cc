#include "server/scheduler/stored_job_reader.h"

#include <limits>
#include <map>
#include <string>
#include <utility>

#include "common/status/status_macros.h"
#include "server/events/job_errors.h"
#include "server/scheduler/job_state_machine.h"

namespace longlora::server {
namespace {

// Every job that has devices.
JobQuery WithAttempt() {
  JobQuery query;
  for (int state = v1::FineTuneJob::State_MIN; state <= v1::FineTuneJob::State_MAX; ++state) {
    const auto value = static_cast<v1::FineTuneJob::State>(state);
    if (HasActiveAttempt(value)) query.states.push_back(value);
  }
  query.limit = std::numeric_limits<int32_t>::max();
  return query;
}

}  // namespace

Answer<JobReader::Sight> StoredJobReader::BeginLook(absl::string_view job) {
  LONGLORA_ASSIGN_OR_RETURN(const std::string id, JobIdOf(job));
  return LookInto(store_, id);
}

absl::StatusOr<JobPage> StoredJobReader::ListJobs(const JobQuery& query) {
  LONGLORA_ASSIGN_OR_RETURN(const StoredPage stored, ReadPage(store_, query));
  JobPage page;
  page.next_before_order = stored.next_before_order;
  for (const StoredJob& job : stored.jobs) page.jobs.push_back(ToFineTuneJob(job));
  return page;
}

absl::StatusOr<std::vector<v1::Worker>> StoredJobReader::ListWorkers() {
  LONGLORA_ASSIGN_OR_RETURN(const auto records, store_.ListWorkers());
  LONGLORA_ASSIGN_OR_RETURN(const std::vector<StoredJob> jobs, store_.ListJobs(WithAttempt()));
  // By the names of a worker and of its device.
  std::map<std::pair<std::string, std::string>, std::string> holders;
  for (const StoredJob& job : jobs) {
    const std::string& worker = job.record.job().attempts().rbegin()->worker();
    for (const std::string& device : job.record.attempts().rbegin()->device_ids()) {
      holders[{worker, device}] = job.record.job().name();
    }
  }
  std::vector<v1::Worker> workers;
  for (const internal::v1::WorkerRecord& record : records) {
    v1::Worker& worker = workers.emplace_back(record.worker());
    worker.set_state(v1::Worker::UNKNOWN);
    if (worker.scheduling() == v1::Worker::SCHEDULING_UNSPECIFIED) {
      worker.set_scheduling(v1::Worker::OPEN);
    }
    for (v1::Device& device : *worker.mutable_devices()) {
      const auto holder = holders.find({worker.name(), device.id()});
      if (holder != holders.end()) device.set_job(holder->second);
    }
  }
  return workers;
}

}  // namespace longlora::server
