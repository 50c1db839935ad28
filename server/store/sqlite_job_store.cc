#include "server/store/sqlite_job_store.h"

#include <fcntl.h>
#include <sys/file.h>

#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/io/files.h"
#include "common/io/unique_fd.h"
#include "common/status/status_macros.h"
#include "server/store/sqlite_connection.h"
#include "server/store/sqlite_readers.h"
#include "server/store/sqlite_schema.h"
#include "server/store/sqlite_writer.h"

namespace longlora::server {
namespace {

// Two schedulers on one store would each undo the other. The kernel drops the lock with the
// process.
absl::StatusOr<common::UniqueFd> LockStore(const std::string& path) {
  const std::string lock_path = absl::StrCat(path, ".lock");
  common::UniqueFd lock(open(lock_path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!lock.ok()) return common::ErrnoStatus(errno, "open", lock_path);
  if (flock(lock.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) return common::ErrnoStatus(errno, "lock", lock_path);
    return absl::FailedPreconditionError(
        absl::StrCat("another longlora-server uses ", path,
                     ": stop it, or give this one a --data-dir of its own"));
  }
  return lock;
}

}  // namespace

absl::StatusOr<std::unique_ptr<SqliteJobStore>> SqliteJobStore::Open(const std::string& path,
                                                                     CommitObserver on_commit) {
  LONGLORA_ASSIGN_OR_RETURN(common::UniqueFd lock, LockStore(path));
  LONGLORA_ASSIGN_OR_RETURN(std::unique_ptr<SqliteConnection> connection,
                            SqliteConnection::Open(path));
  LONGLORA_RETURN_IF_ERROR(MigrateSqliteSchema(*connection));
  return std::unique_ptr<SqliteJobStore>(new SqliteJobStore(
      std::move(lock), std::make_unique<SqliteReaders>(path),
      std::make_unique<SqliteWriter>(std::move(connection), std::move(on_commit))));
}

SqliteJobStore::SqliteJobStore(common::UniqueFd lock, std::unique_ptr<SqliteReaders> readers,
                               std::unique_ptr<SqliteWriter> writer)
    : lock_(std::move(lock)), readers_(std::move(readers)), writer_(std::move(writer)) {}

SqliteJobStore::~SqliteJobStore() = default;

CommitTicket SqliteJobStore::Enqueue(JobTransaction transaction) {
  return writer_->Enqueue([transaction = std::move(transaction)](SqliteConnection& connection) {
    return ApplyJobTransaction(connection, transaction);
  });
}

CommitTicket SqliteJobStore::EnqueueWorker(internal::v1::WorkerRecord worker) {
  return writer_->Enqueue(
      [worker = std::move(worker)](SqliteConnection& connection) -> absl::Status {
        const std::string record = worker.SerializeAsString();
        LONGLORA_SQLITE_STATEMENT(write, connection,
                                  "INSERT OR REPLACE INTO workers(name, record) VALUES(?1, ?2)");
        return write.BindText(1, worker.worker().name()).BindBlob(2, record).Run();
      });
}

CommitTicket SqliteJobStore::EnqueueForgetWorker(std::string name) {
  return writer_->Enqueue([name = std::move(name)](SqliteConnection& connection) -> absl::Status {
    LONGLORA_SQLITE_STATEMENT(remove, connection, "DELETE FROM workers WHERE name = ?1");
    return remove.BindText(1, name).Run();
  });
}

absl::StatusOr<StoredJob> SqliteJobStore::ReadJob(absl::string_view id) {
  return readers_->ReadJob(id);
}

absl::StatusOr<StoredJob> SqliteJobStore::ReadJobByRequestId(absl::string_view request_id) {
  return readers_->ReadJobByRequestId(request_id);
}

absl::StatusOr<std::vector<StoredJob>> SqliteJobStore::ListJobs(const JobQuery& query) {
  return readers_->ListJobs(query);
}

absl::StatusOr<std::vector<StoredJob>> SqliteJobStore::ListLiveJobs() {
  return readers_->ListLiveJobs();
}

absl::StatusOr<EventPage> SqliteJobStore::ReadEvents(absl::string_view id, int64_t after_sequence,
                                                     int32_t limit) {
  return readers_->ReadEvents(id, after_sequence, limit);
}

absl::StatusOr<std::vector<internal::v1::WorkerRecord>> SqliteJobStore::ListWorkers() {
  return readers_->ListWorkers();
}

absl::StatusOr<std::map<v1::FineTuneJob::State, int64_t>> SqliteJobStore::CountJobsByState() {
  return readers_->CountJobsByState();
}

absl::StatusOr<int64_t> SqliteJobStore::NewestOrder() { return readers_->NewestOrder(); }

}  // namespace longlora::server
