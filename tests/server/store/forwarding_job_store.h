// A job store in front of another that passes everything on: the base of test doubles that change
// one thing. For tests.
#ifndef LONGLORA_TESTS_SERVER_STORE_FORWARDING_JOB_STORE_H_
#define LONGLORA_TESTS_SERVER_STORE_FORWARDING_JOB_STORE_H_

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "server/store/job_store.h"

namespace longlora::server {

class ForwardingJobStore : public JobStore {
 public:
  // `inner` outlives it.
  explicit ForwardingJobStore(JobStore& inner) : inner_(inner) {}

  CommitTicket Enqueue(JobTransaction transaction) override {
    return inner_.Enqueue(std::move(transaction));
  }
  CommitTicket EnqueueWorker(internal::v1::WorkerRecord worker) override {
    return inner_.EnqueueWorker(std::move(worker));
  }
  CommitTicket EnqueueForgetWorker(std::string name) override {
    return inner_.EnqueueForgetWorker(std::move(name));
  }
  CommitTicket EnqueueDropEvents(std::string id, int64_t through_sequence) override {
    return inner_.EnqueueDropEvents(std::move(id), through_sequence);
  }
  CommitTicket Confirm() override { return inner_.Confirm(); }

  absl::StatusOr<StoredJob> ReadJob(absl::string_view id) override { return inner_.ReadJob(id); }
  absl::StatusOr<StoredJob> ReadJobByRequestId(absl::string_view request_id) override {
    return inner_.ReadJobByRequestId(request_id);
  }
  absl::StatusOr<std::vector<StoredJob>> ListJobs(const JobQuery& query) override {
    return inner_.ListJobs(query);
  }
  absl::StatusOr<std::vector<StoredJob>> ListLiveJobs() override { return inner_.ListLiveJobs(); }
  absl::StatusOr<EventPage> ReadEvents(absl::string_view id, int64_t after_sequence,
                                       int32_t limit) override {
    return inner_.ReadEvents(id, after_sequence, limit);
  }
  absl::StatusOr<std::vector<StoredJob>> ListEventLogs(const EventLogQuery& query) override {
    return inner_.ListEventLogs(query);
  }
  absl::StatusOr<std::vector<internal::v1::WorkerRecord>> ListWorkers() override {
    return inner_.ListWorkers();
  }
  absl::StatusOr<std::map<v1::FineTuneJob::State, int64_t>> CountJobsByState() override {
    return inner_.CountJobsByState();
  }
  absl::StatusOr<int64_t> NewestOrder() override { return inner_.NewestOrder(); }

 protected:
  JobStore& inner() const { return inner_; }

 private:
  JobStore& inner_;
};

}  // namespace longlora::server

#endif  // LONGLORA_TESTS_SERVER_STORE_FORWARDING_JOB_STORE_H_
