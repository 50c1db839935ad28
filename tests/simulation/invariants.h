// What must hold whatever fails. The one place for such checks: whoever adds a promise to the
// service adds it here. Everything is told to it as it happens in the simulated world, physically
// (a trainer lives) or durably (the store committed); it knows no scheduler and no agent. The first
// violation stops the run.
#ifndef LONGLORA_TESTS_SIMULATION_INVARIANTS_H_
#define LONGLORA_TESTS_SIMULATION_INVARIANTS_H_

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "server/artifacts/artifact_store.h"
#include "server/store/stored_job.h"
#include "tests/simulation/trace.h"

namespace longlora::simulation {

// The queue whose jobs may have so many devices together, the first of them whenever they want.
inline constexpr char kLimitedQueue[] = "limited";
inline constexpr int32_t kLimitedQueueNominal = 1;
inline constexpr int32_t kLimitedQueueBorrows = 1;

// The ranks of an attempt, alive on a worker's devices.
struct LiveTrainer {
  std::string job;  // resource name
  int32_t attempt = 0;
  std::string worker;
  std::vector<std::string> devices;
};

class Invariants {
 public:
  explicit Invariants(Trace* trace) : trace_(trace) {}

  // --- Physically ---
  // Returns its number.
  int64_t OnTrainerStarted(LiveTrainer trainer);
  void OnTrainerEnded(int64_t number) { trainers_.erase(number); }
  // They die with their worker.
  void OnWorkerDied(const std::string& worker);
  // The machine stands still until `end`, with all that runs on it, longer than the service bears:
  // its trainers may outlive their leases until then, and as long as it takes to end them.
  void OnWorkerFrozen(const std::string& worker, absl::Duration end);
  void OnWorkerThawed(const std::string& worker, absl::Duration now);
  // A worker that ended by itself leaves none.
  void OnWorkerEnded(const std::string& worker);

  // --- Durably ---
  // The store decided that `transaction` is stored.
  void OnStored(const server::JobTransaction& transaction);
  // The store refused a change of the job: what it holds of it now.
  void OnRefused(const std::string& id, const std::optional<server::StoredJob>& stored);
  // The store was opened anew: what it holds of the job.
  void OnLooked(const std::string& id, const std::optional<server::StoredJob>& stored);
  // A server begins on the store, before it does anything: all that the store holds.
  void OnServerStarting(const std::vector<server::StoredJob>& stored);

  // --- What was answered ---
  void OnSubmitted(const std::string& request_id, const std::string& job);
  void OnDeleteAsked(const std::string& job);
  void OnEventsAcknowledged(const std::string& job, int32_t attempt, int64_t sequence);
  // A page that a watcher was given after `after_sequence`.
  void OnWatched(const std::string& job, int64_t after_sequence, const server::EventPage& page);

  // --- At the end, when everything has come to rest ---
  // `expected_result`: the digest of what a job has to produce, however often it was interrupted.
  void CheckAtRest(const std::vector<server::StoredJob>& stored,
                   const std::map<std::string, std::vector<v1::JobEvent>>& events,
                   const std::function<std::string(const v1::FineTuneJob&)>& expected_result,
                   const server::ArtifactStore& artifacts);
  bool AllFinal() const;
  const std::map<int64_t, LiveTrainer>& trainers() const { return trainers_; }

  template <typename... Parts>
  void Violate(const Parts&... parts) {
    if (violation_.has_value()) return;
    violation_ = absl::StrCat(parts...);
    trace_->Add("VIOLATION: ", *violation_);
  }
  const std::optional<std::string>& violation() const { return violation_; }

 private:
  struct DurableJob {
    server::StoredJob stored;
    std::map<int32_t, int64_t> last_steps;  // by attempt
  };

  void CheckTrainer(const LiveTrainer& trainer);
  void CheckTransition(const DurableJob& job, const internal::v1::JobRecord& next);
  void CheckDevices();
  void CheckQuota();
  void CheckResults(const internal::v1::JobRecord& record);
  void CheckEvents(DurableJob& job, const std::vector<v1::JobEvent>& events);
  void CheckLedger(const internal::v1::JobRecord& record);
  void CheckLog(const server::StoredJob& job, const std::vector<v1::JobEvent>& events);
  void CheckArtifacts(const server::StoredJob& job, const server::ArtifactStore& artifacts);

  Trace* const trace_;
  std::optional<std::string> violation_;
  std::map<int64_t, LiveTrainer> trainers_;
  int64_t next_trainer_ = 1;
  std::map<std::string, absl::Duration> frozen_until_;  // by worker
  // Of whose attempt a change was refused. If that was its end, the devices that it gave back may
  // be another's already: nothing runs on them any more, and the end is stored with a later try.
  std::set<std::string> refused_;
  std::map<std::string, DurableJob> jobs_;                           // by id
  std::map<std::string, std::string> submitted_;                     // request_id: job
  std::set<std::string> delete_asked_;                               // jobs
  std::map<std::pair<std::string, int32_t>, int64_t> acknowledged_;  // of (job, attempt)
};

}  // namespace longlora::simulation

#endif  // LONGLORA_TESTS_SIMULATION_INVARIANTS_H_
