#include "server/store/sqlite_job_store.h"

#include <fcntl.h>
#include <sys/file.h>

#include <cerrno>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/io/files.h"
#include "common/io/unique_fd.h"
#include "common/status/status_macros.h"
#include "server/store/sql_job_store.h"
#include "server/store/sql_schema.h"
#include "server/store/sqlite_connection.h"

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

absl::StatusOr<std::unique_ptr<JobStore>> OpenSqliteJobStore(const std::string& path,
                                                             CommitObserver on_commit) {
  LONGLORA_ASSIGN_OR_RETURN(common::UniqueFd lock, LockStore(path));
  const SqlConnector connect = [path] { return OpenSqlite(path); };
  LONGLORA_ASSIGN_OR_RETURN(std::unique_ptr<SqlConnection> connection, connect());
  LONGLORA_RETURN_IF_ERROR(MigrateSchema(*connection));
  SqlJobStore::Database database;
  database.guard = std::make_shared<common::UniqueFd>(std::move(lock));
  database.writing = std::move(connection);
  database.connect_to_write = connect;
  database.connect_to_read = connect;
  return std::make_unique<SqlJobStore>(std::move(database), std::move(on_commit));
}

}  // namespace longlora::server
