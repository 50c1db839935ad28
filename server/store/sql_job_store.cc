#include "server/store/sql_job_store.h"

#include <utility>

#include "server/store/sql_readers.h"
#include "server/store/sql_writer.h"

namespace longlora::server {

SqlJobStore::SqlJobStore(Database database, CommitObserver on_commit)
    : guard_(std::move(database.guard)),
      readers_(std::make_unique<SqlReaders>(std::move(database.connect_to_read))),
      writer_(std::make_unique<SqlWriter>(std::move(database.writing),
                                          std::move(database.connect_to_write),
                                          std::move(on_commit))) {}

SqlJobStore::~SqlJobStore() = default;

CommitTicket SqlJobStore::Enqueue(JobTransaction transaction) {
  return writer_->Enqueue([transaction = std::move(transaction)](SqlConnection& connection) {
    return ApplyJobTransaction(connection, transaction);
  });
}

CommitTicket SqlJobStore::EnqueueWorker(internal::v1::WorkerRecord worker) {
  return writer_->Enqueue([worker = std::move(worker)](SqlConnection& connection) -> absl::Status {
    const std::string record = worker.SerializeAsString();
    LONGLORA_SQL_STATEMENT(write, connection,
                           "INSERT INTO workers(name, record) VALUES(?1, ?2) "
                           "ON CONFLICT(name) DO UPDATE SET record = excluded.record");
    return write.BindText(1, worker.worker().name()).BindBlob(2, record).Run();
  });
}

CommitTicket SqlJobStore::EnqueueForgetWorker(std::string name) {
  return writer_->Enqueue([name = std::move(name)](SqlConnection& connection) -> absl::Status {
    LONGLORA_SQL_STATEMENT(remove, connection, "DELETE FROM workers WHERE name = ?1");
    return remove.BindText(1, name).Run();
  });
}

CommitTicket SqlJobStore::EnqueueDropEvents(std::string id, int64_t through_sequence) {
  return writer_->Enqueue([id = std::move(id), through_sequence](SqlConnection& connection) {
    return DropEvents(connection, id, through_sequence);
  });
}

CommitTicket SqlJobStore::Confirm() {
  // The transaction around it is refused when the session with the lock is gone.
  return writer_->Enqueue([](SqlConnection&) { return absl::OkStatus(); });
}

absl::StatusOr<StoredJob> SqlJobStore::ReadJob(absl::string_view id) {
  return readers_->ReadJob(id);
}

absl::StatusOr<StoredJob> SqlJobStore::ReadJobByRequestId(absl::string_view request_id) {
  return readers_->ReadJobByRequestId(request_id);
}

absl::StatusOr<std::vector<StoredJob>> SqlJobStore::ListJobs(const JobQuery& query) {
  return readers_->ListJobs(query);
}

absl::StatusOr<std::vector<StoredJob>> SqlJobStore::ListLiveJobs() {
  return readers_->ListLiveJobs();
}

absl::StatusOr<EventPage> SqlJobStore::ReadEvents(absl::string_view id, int64_t after_sequence,
                                                  int32_t limit) {
  return readers_->ReadEvents(id, after_sequence, limit);
}

absl::StatusOr<std::vector<StoredJob>> SqlJobStore::ListEventLogs(const EventLogQuery& query) {
  return readers_->ListEventLogs(query);
}

absl::StatusOr<std::vector<internal::v1::WorkerRecord>> SqlJobStore::ListWorkers() {
  return readers_->ListWorkers();
}

absl::StatusOr<std::map<v1::FineTuneJob::State, int64_t>> SqlJobStore::CountJobsByState() {
  return readers_->CountJobsByState();
}

absl::StatusOr<int64_t> SqlJobStore::NewestOrder() { return readers_->NewestOrder(); }

}  // namespace longlora::server
