// Where jobs, their events and the known workers survive the server. The scheduler writes, through
// tickets and in order; anybody reads, also a process that has no right to write. Implementations
// are thread-safe and hold the same promises: see tests/server/store/job_store_conformance.h. Keeps
// no file contents: server/artifacts does.
#ifndef LONGLORA_SERVER_STORE_JOB_STORE_H_
#define LONGLORA_SERVER_STORE_JOB_STORE_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "longlora/internal/v1/job_record.pb.h"
#include "longlora/v1/fine_tune_job.pb.h"
#include "server/store/commit_ticket.h"
#include "server/store/stored_job.h"

namespace longlora::server {

struct JobQuery {
  std::vector<v1::FineTuneJob::State> states = {};  // empty: all
  int64_t before_order = 0;                         // only jobs created earlier; 0: from the newest
  int32_t limit = 50;                               // at least 1
};

// Jobs with long event logs.
struct EventLogQuery {
  int64_t more_than = 0;    // events stored
  bool final_only = false;  // of jobs that are final
  int64_t after_order = 0;  // only jobs created later
  int32_t limit = 1000;     // at least 1
};

// The reading half. Every call sees each change whose ticket is OK. UNAVAILABLE: the storage cannot
// be read for now.
class JobStoreReader {
 public:
  virtual ~JobStoreReader() = default;

  // NOT_FOUND when there is no such job.
  virtual absl::StatusOr<StoredJob> ReadJob(absl::string_view id) = 0;
  // NOT_FOUND when no job was created with it.
  virtual absl::StatusOr<StoredJob> ReadJobByRequestId(absl::string_view request_id) = 0;
  // Newest first.
  virtual absl::StatusOr<std::vector<StoredJob>> ListJobs(const JobQuery& query) = 0;
  // Every job that is not final, oldest first.
  virtual absl::StatusOr<std::vector<StoredJob>> ListLiveJobs() = 0;
  // At most `limit` events with a greater sequence. NOT_FOUND when there is no such job.
  virtual absl::StatusOr<EventPage> ReadEvents(absl::string_view id, int64_t after_sequence,
                                               int32_t limit) = 0;
  // Oldest first.
  virtual absl::StatusOr<std::vector<StoredJob>> ListEventLogs(const EventLogQuery& query) = 0;
  virtual absl::StatusOr<std::vector<internal::v1::WorkerRecord>> ListWorkers() = 0;
  virtual absl::StatusOr<std::map<v1::FineTuneJob::State, int64_t>> CountJobsByState() = 0;
  // Greatest order of a stored job; 0: there is none.
  virtual absl::StatusOr<int64_t> NewestOrder() = 0;
};

// Writes, too: for the one server that has the store.
class JobStore : public JobStoreReader {
 public:
  // Hands over a change and returns at once; changes are decided in the order of the calls. The
  // ticket is OK when the change is durable. ALREADY_EXISTS: the id or request_id of a new job is
  // taken. NOT_FOUND: no such job. ABORTED: the job is not as expected. UNAVAILABLE or
  // RESOURCE_EXHAUSTED (disk full): the storage failed, and every later change that builds on this
  // one is ABORTED.
  virtual CommitTicket Enqueue(JobTransaction transaction) = 0;
  // Remembers a worker by its name; replaces what was known of it. Same order, same errors.
  virtual CommitTicket EnqueueWorker(internal::v1::WorkerRecord worker) = 0;
  // Forgets a worker; OK when there is none of that name.
  virtual CommitTicket EnqueueForgetWorker(std::string name) = 0;
  // Drops the job's events up to `through_sequence`, but never its last one. Same order, same
  // errors; OK when there is no such job, or nothing to drop.
  virtual CommitTicket EnqueueDropEvents(std::string id, int64_t through_sequence) = 0;
  // Changes nothing: OK when this process still has the store to itself after the call. What is
  // told to a worker rests on that, so that a server which another replaced renews no lease.
  virtual CommitTicket Confirm() = 0;
};

}  // namespace longlora::server

#endif  // LONGLORA_SERVER_STORE_JOB_STORE_H_
