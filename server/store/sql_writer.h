// The one thread that writes the job store. Takes everything that waits, applies each change
// inside a savepoint of its own, commits them together and then decides their tickets: many
// changes, one fsync. Thread-safe.
#ifndef LONGLORA_SERVER_STORE_SQL_WRITER_H_
#define LONGLORA_SERVER_STORE_SQL_WRITER_H_

#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "common/threads/threads.h"
#include "server/store/commit_ticket.h"
#include "server/store/sql_connection.h"
#include "server/store/stored_job.h"

namespace longlora::server {

// Applies one change inside the connection's transaction; see JobStore for the errors.
absl::Status ApplyJobTransaction(SqlConnection& connection, const JobTransaction& transaction);

// See JobStore::EnqueueDropEvents.
absl::Status DropEvents(SqlConnection& connection, absl::string_view id, int64_t through_sequence);

class SqlWriter {
 public:
  using Change = std::function<absl::Status(SqlConnection&)>;

  // Writes on `connection`, and on one of `connect` when that breaks. `on_commit` hears from the
  // writing thread how long each commit took.
  SqlWriter(std::unique_ptr<SqlConnection> connection, SqlConnector connect,
            CommitObserver on_commit);
  // Decides everything that was handed over.
  ~SqlWriter();

  CommitTicket Enqueue(Change change) ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  struct Waiting {
    Change change;
    CommitTicket ticket;
  };

  void Run() ABSL_LOCKS_EXCLUDED(mutex_);
  bool HasWork() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void CommitGroup(std::vector<Waiting> group);
  absl::Status Reconnect();
  absl::Status ApplyInSavepoint(const Change& change);

  std::unique_ptr<SqlConnection> connection_;  // used by thread_ only
  const SqlConnector connect_;
  const CommitObserver on_commit_;
  absl::Mutex mutex_;
  std::deque<Waiting> queue_ ABSL_GUARDED_BY(mutex_);
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  common::Thread thread_;  // last: starts when everything else is there
};

}  // namespace longlora::server

#endif  // LONGLORA_SERVER_STORE_SQL_WRITER_H_
