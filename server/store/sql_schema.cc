#include "server/store/sql_schema.h"

#include <iterator>
#include <string>

#include "absl/strings/str_cat.h"
#include "common/status/status_macros.h"

namespace longlora::server {
namespace {

// Element i leads from version i to i + 1. Released ones never change; a new one is appended.
constexpr const char* kMigrations[] = {
    // The record is heavy and changes seldom; the cursor is light and changes with every batch of
    // events:
    // so they lie in two tables. A request_id of NULL is none, and NULLs do not collide.
    R"sql(
      CREATE TABLE jobs(
        job_order INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        request_id TEXT UNIQUE,
        state INTEGER NOT NULL,
        revision INTEGER NOT NULL,
        record BLOB NOT NULL);
      CREATE INDEX jobs_by_state ON jobs(state, job_order);
      CREATE TABLE job_cursors(
        job_order INTEGER PRIMARY KEY,
        last_event_sequence INTEGER NOT NULL,
        acknowledged_sequence INTEGER NOT NULL,
        progress BLOB NOT NULL);
      CREATE TABLE job_events(
        job_order INTEGER NOT NULL,
        sequence INTEGER NOT NULL,
        event BLOB NOT NULL,
        PRIMARY KEY(job_order, sequence)) WITHOUT ROWID;
      CREATE TABLE workers(
        name TEXT PRIMARY KEY,
        record BLOB NOT NULL) WITHOUT ROWID;
    )sql",
    // How often a server has taken the store over; see postgres_job_store.
    R"sql(
      CREATE TABLE takeovers(count INTEGER NOT NULL);
      INSERT INTO takeovers VALUES(0);
    )sql",
};

absl::StatusOr<int64_t> ReadVersion(SqlConnection& connection) {
  LONGLORA_SQL_STATEMENT(read, connection, "SELECT max(version) FROM schema_version");
  LONGLORA_ASSIGN_OR_RETURN(const bool found, read.Step());
  return found ? read.Int(0) : 0;
}

}  // namespace

int SchemaVersion() { return static_cast<int>(std::size(kMigrations)); }

absl::Status MigrateSchema(SqlConnection& connection) {
  const std::string create =
      connection.Translate("CREATE TABLE IF NOT EXISTS schema_version(version INTEGER NOT NULL)");
  LONGLORA_RETURN_IF_ERROR(connection.Execute(create.c_str()));
  LONGLORA_ASSIGN_OR_RETURN(int64_t version, ReadVersion(connection));
  if (version > SchemaVersion()) {
    return absl::FailedPreconditionError(
        absl::StrCat("the store has schema version ", version, ", this program knows ",
                     SchemaVersion(), ": start a newer longlora-server, or restore a backup"));
  }
  for (; version < SchemaVersion(); ++version) {
    const std::string migration = absl::StrCat(
        connection.Translate(kMigrations[version]),
        "DELETE FROM schema_version; INSERT INTO schema_version VALUES(", version + 1, "); COMMIT");
    LONGLORA_RETURN_IF_ERROR(connection.BeginWrite());
    if (absl::Status status = connection.Execute(migration.c_str()); !status.ok()) {
      connection.Execute("ROLLBACK").IgnoreError();
      return status;
    }
  }
  return absl::OkStatus();
}

absl::Status CheckSchema(SqlConnection& connection) {
  const absl::StatusOr<int64_t> version = ReadVersion(connection);
  if (!version.ok()) {
    return absl::UnavailableError(absl::StrCat(
        "there is no job store here yet, or none that this user may read; the first server that "
        "leads makes it: ",
        version.status().message()));
  }
  if (*version == SchemaVersion()) return absl::OkStatus();
  return absl::UnavailableError(
      absl::StrCat("the store has schema version ", *version, ", this program reads ",
                   SchemaVersion(), " only: all servers of a store must be of one version"));
}

}  // namespace longlora::server
