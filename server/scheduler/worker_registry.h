// The workers the server knows: what they offer, which process speaks for each name, until when its
// lease runs, and which jobs it holds. Plain state without a lock; the scheduler guards it. Leases
// count on the monotonic clock. Decides nothing about jobs.
#ifndef LONGLORA_SERVER_SCHEDULER_WORKER_REGISTRY_H_
#define LONGLORA_SERVER_SCHEDULER_WORKER_REGISTRY_H_

#include <cstdint>
#include <deque>
#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "common/time/clock.h"
#include "longlora/internal/v1/job_record.pb.h"
#include "longlora/worker/v1/worker_service.pb.h"

namespace longlora::server {

struct KnownWorker {
  // Whether it may be given jobs, as far as its operator is concerned.
  bool open() const {
    return record.worker().scheduling() != v1::Worker::CORDONED &&
           record.worker().scheduling() != v1::Worker::DRAINING;
  }

  // Whether it may be given jobs now.
  bool takes_jobs() const { return connected && open() && !leaving; }
  // Whether it has these devices and no job does.
  bool HasFree(const std::vector<std::string>& device_ids) const;

  internal::v1::WorkerRecord record;
  bool connected = false;  // has spoken since the server started, and its lease runs
  bool leaving = false;    // it was told to end and stops what it has
  common::MonotonicTime lease_end;
  absl::Time stored_contact;  // last_contact_time in the store
  int64_t newest_report = 0;  // SynchronizeRequest.number; 0: none since the server started
  // The newest incarnation that wants the name, and the number that it was told to go on from.
  std::string candidate;
  int64_t candidate_number = 0;
  // Former processes of this name, newest last: they must not come back.
  std::deque<std::string> superseded;
  // Devices by the id of the job that has them.
  std::map<std::string, std::vector<std::string>, std::less<>> held;
};

class WorkerRegistry {
 public:
  using Workers = std::map<std::string, KnownWorker, std::less<>>;

  // A worker out of the store: unheard of so far, but its lease may still run, so nothing of it is
  // given away before `lease_end`.
  void Restore(internal::v1::WorkerRecord record, common::MonotonicTime lease_end);

  struct Accepted {
    bool must_store = false;      // the worker's record changed, or its contact in the store is old
    bool offers_changed = false;  // placement may come out differently
  };
  // Takes in a report and renews the lease. A new incarnation takes the name over once it has shown
  // that it lives; the one before is refused from then on, and so is a report that a later one of
  // its incarnation has overtaken. INVALID_ARGUMENT (WORKER_INVALID), ALREADY_EXISTS
  // (WORKER_NAME_TAKEN), ABORTED (REPORT_OUTDATED, REPORT_UNCONFIRMED).
  absl::StatusOr<Accepted> Report(const worker::v1::SynchronizeRequest& request, absl::Time date,
                                  common::MonotonicTime lease_end, absl::Duration store_interval);
  // The worker said goodbye: it gets no work and its lease is over.
  void Leave(absl::string_view id, common::MonotonicTime now);
  // What an operator wants of a worker; nullptr: unknown, else the worker as it is then, to be
  // stored.
  const KnownWorker* SetScheduling(absl::string_view id, v1::Worker::Scheduling scheduling);
  // Marks workers whose lease has lapsed as lost; true: there was one.
  bool Expire(common::MonotonicTime now);
  // Forgets workers that are lost, OPEN, hold nothing and were last heard of before `date`; returns
  // their names.
  std::vector<std::string> ForgetBefore(absl::Time date);

  // Whose devices a job has; called with every change of the job.
  void Hold(absl::string_view id, absl::string_view job, std::vector<std::string> device_ids);
  void Release(absl::string_view id, absl::string_view job);

  const Workers& workers() const { return workers_; }
  // nullptr: unknown.
  const KnownWorker* Find(absl::string_view id) const;

 private:
  Workers workers_;  // by id
};

}  // namespace longlora::server

#endif  // LONGLORA_SERVER_SCHEDULER_WORKER_REGISTRY_H_
