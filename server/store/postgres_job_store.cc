#include "server/store/postgres_job_store.h"

#include <utility>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "common/status/status_macros.h"
#include "server/store/postgres_connection.h"
#include "server/store/sql_job_store.h"
#include "server/store/sql_readers.h"
#include "server/store/sql_schema.h"

namespace longlora::server {
namespace {

// The database's lock for this purpose; any number that nothing else in the database uses.
constexpr int64_t kLock = 0x6c6f6e676c6f7261;  // "longlora"
// A server that was killed just now may still have its session.
constexpr absl::Duration kLockPatience = absl::Seconds(3);
constexpr absl::Duration kLockInterval = absl::Milliseconds(50);

absl::StatusOr<bool> TryLock(SqlConnection& connection) {
  LONGLORA_SQL_STATEMENT(lock, connection,
                         "SELECT CASE WHEN pg_try_advisory_lock(?1) THEN 1::int8 ELSE 0::int8 END");
  lock.Bind(1, kLock);
  LONGLORA_ASSIGN_OR_RETURN(const bool found, lock.Step());
  return found && lock.Int(0) == 1;
}

// A session that alone may write.
absl::StatusOr<std::unique_ptr<SqlConnection>> ConnectToWrite(const std::string& url) {
  LONGLORA_ASSIGN_OR_RETURN(std::unique_ptr<SqlConnection> connection, OpenPostgres(url));
  const absl::Time deadline = absl::Now() + kLockPatience;
  while (true) {
    LONGLORA_ASSIGN_OR_RETURN(const bool locked, TryLock(*connection));
    if (locked) return connection;
    if (absl::Now() >= deadline) {
      return absl::AlreadyExistsError(
          "another longlora-server has this job store: stop it, let this one wait for it "
          "(--standby), "
          "or give it a database of its own");
    }
    absl::SleepFor(kLockInterval);
  }
}

absl::StatusOr<int64_t> CountTakeovers(SqlConnection& connection) {
  LONGLORA_SQL_STATEMENT(read, connection, "SELECT count FROM takeovers");
  LONGLORA_ASSIGN_OR_RETURN(const bool found, read.Step());
  if (!found) return absl::DataLossError("the table takeovers is empty: restore a backup");
  return read.Int(0);
}

// As ConnectToWrite, for a server that had the store as the one of `takeover`: what it has in
// memory is only right when none had it since. ALREADY_EXISTS: one has, or had.
absl::StatusOr<std::unique_ptr<SqlConnection>> ConnectAgain(const std::string& url,
                                                            int64_t takeover) {
  LONGLORA_ASSIGN_OR_RETURN(std::unique_ptr<SqlConnection> connection, ConnectToWrite(url));
  LONGLORA_ASSIGN_OR_RETURN(const int64_t now, CountTakeovers(*connection));
  if (now == takeover) return connection;
  return absl::AlreadyExistsError(
      "another longlora-server had this job store while the connection was lost");
}

}  // namespace

absl::StatusOr<std::unique_ptr<JobStore>> OpenPostgresJobStore(const std::string& url,
                                                               CommitObserver on_commit,
                                                               StoreLostObserver on_lost) {
  SqlJobStore::Database database;
  LONGLORA_ASSIGN_OR_RETURN(database.writing, ConnectToWrite(url));
  LONGLORA_RETURN_IF_ERROR(MigrateSchema(*database.writing));
  LONGLORA_RETURN_IF_ERROR(database.writing->Execute("UPDATE takeovers SET count = count + 1"));
  LONGLORA_ASSIGN_OR_RETURN(const int64_t takeover, CountTakeovers(*database.writing));
  database.connect_to_write =
      [url, takeover,
       on_lost = std::move(on_lost)]() -> absl::StatusOr<std::unique_ptr<SqlConnection>> {
    absl::StatusOr<std::unique_ptr<SqlConnection>> connection = ConnectAgain(url, takeover);
    if (!absl::IsAlreadyExists(connection.status())) return connection;
    if (on_lost) on_lost(connection.status());
    return absl::FailedPreconditionError(connection.status().message());
  };
  database.connect_to_read = [url] { return OpenPostgres(url); };
  return std::make_unique<SqlJobStore>(std::move(database), std::move(on_commit));
}

std::unique_ptr<JobStoreReader> OpenPostgresReader(const std::string& url) {
  return std::make_unique<SqlReaders>([url]() -> absl::StatusOr<std::unique_ptr<SqlConnection>> {
    LONGLORA_ASSIGN_OR_RETURN(std::unique_ptr<SqlConnection> connection, OpenPostgres(url));
    LONGLORA_RETURN_IF_ERROR(CheckSchema(*connection));
    return connection;
  });
}

}  // namespace longlora::server
