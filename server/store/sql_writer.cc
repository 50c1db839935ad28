#include "server/store/sql_writer.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/status/status_macros.h"

namespace longlora::server {
namespace {

// Bounds how long the first of a group waits for the last.
constexpr size_t kGroupMax = 512;

absl::Status InsertJob(SqlConnection& connection, const JobTransaction& transaction) {
  if (!transaction.record.has_value()) {
    return absl::InternalError(
        absl::StrCat("job ", transaction.id, " is created without a record"));
  }
  const std::string record = transaction.record->SerializeAsString();
  LONGLORA_SQL_STATEMENT(insert, connection,
                         "INSERT INTO jobs(job_order, id, request_id, state, revision, record) "
                         "VALUES(?1, ?2, ?3, ?4, 1, ?5)");
  insert.Bind(1, transaction.order)
      .BindText(2, transaction.id)
      .Bind(4, transaction.record->job().state())
      .BindBlob(5, record);
  if (transaction.record->request_id().empty()) {
    insert.BindNull(3);
  } else {
    insert.BindText(3, transaction.record->request_id());
  }
  return insert.Run();
}

absl::Status ReplaceRecord(SqlConnection& connection, int64_t order,
                           const internal::v1::JobRecord& value) {
  const std::string record = value.SerializeAsString();
  LONGLORA_SQL_STATEMENT(
      update, connection,
      "UPDATE jobs SET state = ?2, revision = revision + 1, record = ?3 WHERE job_order = ?1");
  update.Bind(1, order).Bind(2, value.job().state()).BindBlob(3, record);
  return update.Run();
}

absl::Status WriteCursor(SqlConnection& connection, int64_t order, const JobCursor& cursor) {
  const std::string progress = cursor.progress.SerializeAsString();
  LONGLORA_SQL_STATEMENT(write, connection,
                         "INSERT INTO job_cursors(job_order, last_event_sequence, "
                         "acknowledged_sequence, progress) VALUES(?1, ?2, ?3, ?4) "
                         "ON CONFLICT(job_order) DO UPDATE SET "
                         "last_event_sequence = excluded.last_event_sequence, "
                         "acknowledged_sequence = excluded.acknowledged_sequence, "
                         "progress = excluded.progress");
  write.Bind(1, order)
      .Bind(2, cursor.last_event_sequence)
      .Bind(3, cursor.acknowledged_sequence)
      .BindBlob(4, progress);
  return write.Run();
}

absl::Status InsertEvents(SqlConnection& connection, int64_t order,
                          const JobTransaction& transaction) {
  int64_t expected = transaction.expected_last_event_sequence;
  for (const v1::JobEvent& event : transaction.events) {
    if (event.sequence() != ++expected) {
      return absl::InternalError(absl::StrCat("event ", event.sequence(), " of job ",
                                              transaction.id, " follows ", expected - 1));
    }
    const std::string bytes = event.SerializeAsString();
    LONGLORA_SQL_STATEMENT(insert, connection,
                           "INSERT INTO job_events(job_order, sequence, event) VALUES(?1, ?2, ?3)");
    insert.Bind(1, order).Bind(2, event.sequence()).BindBlob(3, bytes);
    LONGLORA_RETURN_IF_ERROR(insert.Run());
  }
  if (transaction.cursor.last_event_sequence != expected) {
    return absl::InternalError(absl::StrCat("job ", transaction.id, " ends its events at ",
                                            expected, ", not at ",
                                            transaction.cursor.last_event_sequence));
  }
  return absl::OkStatus();
}

absl::Status RemoveJob(SqlConnection& connection, int64_t order) {
  for (const char* sql :
       {"DELETE FROM job_events WHERE job_order = ?1",
        "DELETE FROM job_cursors WHERE job_order = ?1", "DELETE FROM jobs WHERE job_order = ?1"}) {
    LONGLORA_SQL_STATEMENT(remove, connection, sql);
    remove.Bind(1, order);
    LONGLORA_RETURN_IF_ERROR(remove.Run());
  }
  return absl::OkStatus();
}

// The order of the job when it is where the change expects it.
absl::StatusOr<int64_t> FindExpected(SqlConnection& connection, const JobTransaction& transaction) {
  LONGLORA_SQL_STATEMENT(read, connection,
                         "SELECT j.job_order, j.revision, c.last_event_sequence FROM jobs j JOIN "
                         "job_cursors c USING(job_order) WHERE j.id = ?1");
  read.BindText(1, transaction.id);
  LONGLORA_ASSIGN_OR_RETURN(const bool found, read.Step());
  if (!found) return absl::NotFoundError(absl::StrCat("no job \"", transaction.id, "\" is stored"));
  if (read.Int(1) != transaction.expected_revision ||
      read.Int(2) != transaction.expected_last_event_sequence) {
    return absl::AbortedError(absl::StrCat("job ", transaction.id, " is at revision ", read.Int(1),
                                           " and event ", read.Int(2), ", the change expected ",
                                           transaction.expected_revision, " and ",
                                           transaction.expected_last_event_sequence));
  }
  return read.Int(0);
}

}  // namespace

absl::Status ApplyJobTransaction(SqlConnection& connection, const JobTransaction& transaction) {
  int64_t order = transaction.order;
  if (transaction.expected_revision == 0) {
    LONGLORA_RETURN_IF_ERROR(InsertJob(connection, transaction));
  } else {
    LONGLORA_ASSIGN_OR_RETURN(order, FindExpected(connection, transaction));
    if (transaction.remove) return RemoveJob(connection, order);
    if (transaction.record.has_value()) {
      LONGLORA_RETURN_IF_ERROR(ReplaceRecord(connection, order, *transaction.record));
    }
  }
  LONGLORA_RETURN_IF_ERROR(InsertEvents(connection, order, transaction));
  return WriteCursor(connection, order, transaction.cursor);
}

absl::Status DropEvents(SqlConnection& connection, absl::string_view id, int64_t through_sequence) {
  LONGLORA_SQL_STATEMENT(drop, connection,
                         "DELETE FROM job_events WHERE sequence <= ?2 AND job_order = "
                         "(SELECT job_order FROM jobs WHERE id = ?1) AND sequence < "
                         "(SELECT last_event_sequence FROM job_cursors c "
                         "JOIN jobs j USING(job_order) WHERE j.id = ?1)");
  return drop.BindText(1, id).Bind(2, through_sequence).Run();
}

SqlWriter::SqlWriter(std::unique_ptr<SqlConnection> connection, SqlConnector connect,
                     CommitObserver on_commit)
    : connection_(std::move(connection)),
      connect_(std::move(connect)),
      on_commit_(std::move(on_commit)),
      thread_([this] { Run(); }) {}

SqlWriter::~SqlWriter() {
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
  }
  thread_.join();
}

CommitTicket SqlWriter::Enqueue(Change change) {
  CommitTicket ticket = CommitTicket::Pending();
  absl::MutexLock lock(&mutex_);
  queue_.push_back({std::move(change), ticket});
  return ticket;
}

bool SqlWriter::HasWork() const { return stopping_ || !queue_.empty(); }

void SqlWriter::Run() {
  while (true) {
    std::vector<Waiting> group;
    {
      absl::MutexLock lock(&mutex_);
      common::Await(&mutex_, absl::Condition(this, &SqlWriter::HasWork));
      while (!queue_.empty() && group.size() < kGroupMax) {
        group.push_back(std::move(queue_.front()));
        queue_.pop_front();
      }
      if (group.empty()) return;
    }
    CommitGroup(std::move(group));
  }
}

void SqlWriter::CommitGroup(std::vector<Waiting> group) {
  const absl::Time start = absl::Now();
  absl::Status whole = connection_->broken() ? Reconnect() : absl::OkStatus();
  if (whole.ok()) whole = connection_->BeginWrite();
  std::vector<absl::Status> outcomes(group.size());
  for (size_t i = 0; whole.ok() && i < group.size(); ++i) {
    outcomes[i] = ApplyInSavepoint(group[i].change);
    // A full or broken disk, or a lost connection, ends the whole transaction, with the changes
    // before this one.
    if (!connection_->InTransaction()) whole = outcomes[i];
  }
  // A connection that is lost in the middle of this leaves open whether it was done. That is no
  // harm: whoever tries again is refused by the revision, or finds what he wanted.
  if (whole.ok()) whole = connection_->Execute("COMMIT");
  if (!whole.ok() && connection_->InTransaction()) connection_->Execute("ROLLBACK").IgnoreError();
  if (on_commit_) on_commit_(absl::Now() - start);
  for (size_t i = 0; i < group.size(); ++i)
    group[i].ticket.Decide(whole.ok() ? outcomes[i] : whole);
}

absl::Status SqlWriter::Reconnect() {
  LONGLORA_ASSIGN_OR_RETURN(connection_, connect_());
  return absl::OkStatus();
}

absl::Status SqlWriter::ApplyInSavepoint(const Change& change) {
  LONGLORA_RETURN_IF_ERROR(connection_->Execute("SAVEPOINT change"));
  absl::Status status = change(*connection_);
  if (!status.ok() && connection_->InTransaction()) {
    LONGLORA_RETURN_IF_ERROR(connection_->Execute("ROLLBACK TO change"));
  }
  if (connection_->InTransaction()) {
    LONGLORA_RETURN_IF_ERROR(connection_->Execute("RELEASE change"));
  }
  return status;
}

}  // namespace longlora::server
