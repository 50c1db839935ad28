// Stands before the real job store and tells Invariants what it decided, in its order.
#ifndef LONGLORA_TESTS_SIMULATION_OBSERVED_STORE_H_
#define LONGLORA_TESTS_SIMULATION_OBSERVED_STORE_H_

#include <deque>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "server/store/job_store.h"
#include "server/store/sql_readers.h"
#include "tests/simulation/invariants.h"

namespace longlora::simulation {

class ObservedStore : public server::JobStore {
 public:
  // `auditor` reads what is stored, past every fault.
  ObservedStore(std::unique_ptr<server::JobStore> inner, server::SqlReaders* auditor,
                Invariants* invariants)
      : inner_(std::move(inner)), auditor_(auditor), invariants_(invariants) {}

  // Tells what was decided since; called after every step of the simulation.
  void Settle() {
    while (!pending_.empty() && pending_.front().second.decided()) {
      const auto [transaction, ticket] = std::move(pending_.front());
      pending_.pop_front();
      if (ticket.Wait().ok()) {
        invariants_->OnStored(transaction);
      } else {
        const auto stored = auditor_->ReadJob(transaction.id);
        invariants_->OnRefused(transaction.id, stored.ok() ? std::optional(*stored) : std::nullopt);
      }
    }
  }

  server::CommitTicket Enqueue(server::JobTransaction transaction) override {
    server::CommitTicket ticket = inner_->Enqueue(transaction);
    pending_.emplace_back(std::move(transaction), ticket);
    return ticket;
  }
  server::CommitTicket EnqueueWorker(internal::v1::WorkerRecord worker) override {
    return inner_->EnqueueWorker(std::move(worker));
  }
  server::CommitTicket EnqueueForgetWorker(std::string name) override {
    return inner_->EnqueueForgetWorker(std::move(name));
  }
  server::CommitTicket EnqueueDropEvents(std::string id, int64_t through) override {
    return inner_->EnqueueDropEvents(std::move(id), through);
  }
  absl::StatusOr<std::vector<server::StoredJob>> ListEventLogs(
      const server::EventLogQuery& query) override {
    return inner_->ListEventLogs(query);
  }
  server::CommitTicket Confirm() override { return inner_->Confirm(); }
  absl::StatusOr<server::StoredJob> ReadJob(absl::string_view id) override {
    return inner_->ReadJob(id);
  }
  absl::StatusOr<server::StoredJob> ReadJobByRequestId(absl::string_view request_id) override {
    return inner_->ReadJobByRequestId(request_id);
  }
  absl::StatusOr<std::vector<server::StoredJob>> ListJobs(const server::JobQuery& query) override {
    return inner_->ListJobs(query);
  }
  absl::StatusOr<std::vector<server::StoredJob>> ListLiveJobs() override {
    return inner_->ListLiveJobs();
  }
  absl::StatusOr<server::EventPage> ReadEvents(absl::string_view id, int64_t after_sequence,
                                               int32_t limit) override {
    return inner_->ReadEvents(id, after_sequence, limit);
  }
  absl::StatusOr<std::vector<internal::v1::WorkerRecord>> ListWorkers() override {
    return inner_->ListWorkers();
  }
  absl::StatusOr<std::map<v1::FineTuneJob::State, int64_t>> CountJobsByState() override {
    return inner_->CountJobsByState();
  }
  absl::StatusOr<int64_t> NewestOrder() override { return inner_->NewestOrder(); }

 private:
  const std::unique_ptr<server::JobStore> inner_;
  server::SqlReaders* const auditor_;
  Invariants* const invariants_;
  std::deque<std::pair<server::JobTransaction, server::CommitTicket>> pending_;
};

}  // namespace longlora::simulation

#endif  // LONGLORA_TESTS_SIMULATION_OBSERVED_STORE_H_
