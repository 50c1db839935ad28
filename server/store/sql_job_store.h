// JobStore in a SQL database. One thread writes, many changes in one commit; readers have
// connections of their own and never wait for it. Which database, and that no other server writes
// there, is what sqlite_job_store and postgres_job_store see to. Thread-safe.
#ifndef LONGLORA_SERVER_STORE_SQL_JOB_STORE_H_
#define LONGLORA_SERVER_STORE_SQL_JOB_STORE_H_

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "server/store/job_store.h"
#include "server/store/sql_connection.h"

namespace longlora::server {

class SqlReaders;
class SqlWriter;

class SqlJobStore : public JobStore {
 public:
  // How it connects.
  struct Database {
    std::shared_ptr<void> guard;             // lives as long as the store
    std::unique_ptr<SqlConnection> writing;  // of the present schema
    SqlConnector connect_to_write;           // when `writing` breaks
    SqlConnector connect_to_read;
  };

  SqlJobStore(Database database, CommitObserver on_commit);
  // Decides everything handed over before.
  ~SqlJobStore() override;

  CommitTicket Enqueue(JobTransaction transaction) override;
  CommitTicket EnqueueWorker(internal::v1::WorkerRecord worker) override;
  CommitTicket EnqueueForgetWorker(std::string name) override;
  CommitTicket EnqueueDropEvents(std::string id, int64_t through_sequence) override;
  CommitTicket Confirm() override;
  absl::StatusOr<StoredJob> ReadJob(absl::string_view id) override;
  absl::StatusOr<StoredJob> ReadJobByRequestId(absl::string_view request_id) override;
  absl::StatusOr<std::vector<StoredJob>> ListJobs(const JobQuery& query) override;
  absl::StatusOr<std::vector<StoredJob>> ListLiveJobs() override;
  absl::StatusOr<EventPage> ReadEvents(absl::string_view id, int64_t after_sequence,
                                       int32_t limit) override;
  absl::StatusOr<std::vector<StoredJob>> ListEventLogs(const EventLogQuery& query) override;
  absl::StatusOr<std::vector<internal::v1::WorkerRecord>> ListWorkers() override;
  absl::StatusOr<std::map<v1::FineTuneJob::State, int64_t>> CountJobsByState() override;
  absl::StatusOr<int64_t> NewestOrder() override;

 private:
  const std::shared_ptr<void> guard_;
  const std::unique_ptr<SqlReaders> readers_;
  const std::unique_ptr<SqlWriter> writer_;
};

}  // namespace longlora::server

#endif  // LONGLORA_SERVER_STORE_SQL_JOB_STORE_H_
