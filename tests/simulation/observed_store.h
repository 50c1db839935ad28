// Stands before the real job store and tells Invariants what it decided, in its order.
#ifndef LONGLORA_TESTS_SIMULATION_OBSERVED_STORE_H_
#define LONGLORA_TESTS_SIMULATION_OBSERVED_STORE_H_

#include <deque>
#include <memory>
#include <utility>

#include "server/store/sql_readers.h"
#include "tests/server/store/forwarding_job_store.h"
#include "tests/simulation/invariants.h"

namespace longlora::simulation {

class ObservedStore : public server::ForwardingJobStore {
 public:
  // `auditor` reads what is stored, past every fault.
  ObservedStore(std::unique_ptr<server::JobStore> inner, server::SqlReaders* auditor,
                Invariants* invariants)
      : ForwardingJobStore(*inner),
        owned_(std::move(inner)),
        auditor_(auditor),
        invariants_(invariants) {}

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
    server::CommitTicket ticket = inner().Enqueue(transaction);
    pending_.emplace_back(std::move(transaction), ticket);
    return ticket;
  }

 private:
  const std::unique_ptr<server::JobStore> owned_;
  server::SqlReaders* const auditor_;
  Invariants* const invariants_;
  std::deque<std::pair<server::JobTransaction, server::CommitTicket>> pending_;
};

}  // namespace longlora::simulation

#endif  // LONGLORA_TESTS_SIMULATION_OBSERVED_STORE_H_
