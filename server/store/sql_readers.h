// Every query of the job store, on a small pool of reading connections. Thread-safe.
#ifndef LONGLORA_SERVER_STORE_SQL_READERS_H_
#define LONGLORA_SERVER_STORE_SQL_READERS_H_

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "server/store/job_store.h"
#include "server/store/sql_connection.h"

namespace longlora::server {

class SqlReaders : public JobStoreReader {
 public:
  // Makes connections as they are needed; more than a few readers at once take turns.
  explicit SqlReaders(SqlConnector connect) : connect_(std::move(connect)) {}

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
  // A connection on loan.
  class Lease {
   public:
    Lease(SqlReaders& readers, std::unique_ptr<SqlConnection> connection)
        : readers_(&readers), connection_(std::move(connection)) {}
    Lease(Lease&& other) = default;
    ~Lease();
    SqlConnection& operator*() const { return *connection_; }
    SqlConnection* operator->() const { return connection_.get(); }

   private:
    SqlReaders* readers_;
    std::unique_ptr<SqlConnection> connection_;
  };

  // Runs `query`, and again on a new connection when its own turns out to be broken.
  template <typename T>
  absl::StatusOr<T> Read(absl::FunctionRef<absl::StatusOr<T>(SqlConnection& connection)> query);
  absl::StatusOr<Lease> Borrow() ABSL_LOCKS_EXCLUDED(mutex_);
  void Return(std::unique_ptr<SqlConnection> connection) ABSL_LOCKS_EXCLUDED(mutex_);
  bool CanBorrow() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const SqlConnector connect_;
  absl::Mutex mutex_;
  std::vector<std::unique_ptr<SqlConnection>> idle_ ABSL_GUARDED_BY(mutex_);
  int lent_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace longlora::server

#endif  // LONGLORA_SERVER_STORE_SQL_READERS_H_
