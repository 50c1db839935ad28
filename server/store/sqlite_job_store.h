// JobStore in one SQLite file (WAL, synchronous=FULL). One thread writes, many changes in one
// commit; readers have connections of their own and never wait for it. Thread-safe.
#ifndef LONGLORA_SERVER_STORE_SQLITE_JOB_STORE_H_
#define LONGLORA_SERVER_STORE_SQLITE_JOB_STORE_H_

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/io/unique_fd.h"
#include "server/store/job_store.h"

namespace longlora::server {

class SqliteReaders;
class SqliteWriter;

class SqliteJobStore : public JobStore {
 public:
  // Opens or creates `path` (its directory must exist) and migrates an older schema.
  // FAILED_PRECONDITION when another process has it open, or when its schema is newer than this
  // program; UNAVAILABLE when the file cannot be used.
  static absl::StatusOr<std::unique_ptr<SqliteJobStore>> Open(const std::string& path,
                                                              CommitObserver on_commit = {});
  // Decides everything handed over before.
  ~SqliteJobStore() override;

  CommitTicket Enqueue(JobTransaction transaction) override;
  CommitTicket EnqueueWorker(internal::v1::WorkerRecord worker) override;
  CommitTicket EnqueueForgetWorker(std::string name) override;
  absl::StatusOr<StoredJob> ReadJob(absl::string_view id) override;
  absl::StatusOr<StoredJob> ReadJobByRequestId(absl::string_view request_id) override;
  absl::StatusOr<std::vector<StoredJob>> ListJobs(const JobQuery& query) override;
  absl::StatusOr<std::vector<StoredJob>> ListLiveJobs() override;
  absl::StatusOr<EventPage> ReadEvents(absl::string_view id, int64_t after_sequence,
                                       int32_t limit) override;
  absl::StatusOr<std::vector<internal::v1::WorkerRecord>> ListWorkers() override;
  absl::StatusOr<std::map<v1::FineTuneJob::State, int64_t>> CountJobsByState() override;
  absl::StatusOr<int64_t> NewestOrder() override;

 private:
  SqliteJobStore(common::UniqueFd lock, std::unique_ptr<SqliteReaders> readers,
                 std::unique_ptr<SqliteWriter> writer);

  const common::UniqueFd lock_;  // held while the store is open
  const std::unique_ptr<SqliteReaders> readers_;
  const std::unique_ptr<SqliteWriter> writer_;
};

}  // namespace longlora::server

#endif  // LONGLORA_SERVER_STORE_SQLITE_JOB_STORE_H_
