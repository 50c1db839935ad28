#include "server/store/sql_readers.h"

#include <utility>

#include "absl/functional/function_ref.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/status/status_macros.h"
#include "common/threads/threads.h"

namespace longlora::server {
namespace {

constexpr int kConnectionsMax = 8;
// What ReadRow expects, in this order.
#define LONGLORA_JOB_COLUMNS                                                \
  "SELECT j.job_order, j.id, j.revision, j.record, c.last_event_sequence, " \
  "c.acknowledged_sequence, c.progress FROM jobs j JOIN job_cursors c USING(job_order) "

// What was written as a protobuf message must parse as one; else the file is damaged.
template <typename Message>
absl::Status ParseStored(absl::string_view bytes, absl::string_view what, Message& message) {
  if (message.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) return absl::OkStatus();
  return absl::DataLossError(absl::StrCat("the stored ", what, " is damaged: restore a backup"));
}

absl::StatusOr<StoredJob> ReadRow(const SqlStatement& row) {
  StoredJob job;
  job.order = row.Int(0);
  job.id = std::string(row.Bytes(1));
  job.revision = row.Int(2);
  LONGLORA_RETURN_IF_ERROR(ParseStored(row.Bytes(3), absl::StrCat("job ", job.id), job.record));
  job.cursor.last_event_sequence = row.Int(4);
  job.cursor.acknowledged_sequence = row.Int(5);
  LONGLORA_RETURN_IF_ERROR(
      ParseStored(row.Bytes(6), absl::StrCat("progress of job ", job.id), job.cursor.progress));
  return job;
}

absl::StatusOr<std::vector<StoredJob>> ReadRows(SqlStatement& statement) {
  std::vector<StoredJob> jobs;
  while (true) {
    LONGLORA_ASSIGN_OR_RETURN(const bool found, statement.Step());
    if (!found) return jobs;
    LONGLORA_ASSIGN_OR_RETURN(StoredJob job, ReadRow(statement));
    jobs.push_back(std::move(job));
  }
}

absl::StatusOr<StoredJob> ReadOne(SqlStatement& statement, absl::string_view key) {
  LONGLORA_ASSIGN_OR_RETURN(const bool found, statement.Step());
  if (!found) return absl::NotFoundError(absl::StrCat("no job \"", key, "\" is stored"));
  return ReadRow(statement);
}

// States are our own numbers: safe inside SQL, and few enough for one prepared statement a
// combination.
std::string StateList(const std::vector<v1::FineTuneJob::State>& states) {
  return absl::StrJoin(states, ",", [](std::string* out, v1::FineTuneJob::State state) {
    absl::StrAppend(out, static_cast<int>(state));
  });
}

// One view of the database for several statements. Ends when destroyed; it changed nothing.
class ReadTransaction {
 public:
  explicit ReadTransaction(SqlConnection& connection) : connection_(connection) {}
  absl::Status Begin() { return connection_.BeginRead(); }
  ~ReadTransaction() { connection_.Execute("ROLLBACK").IgnoreError(); }

 private:
  SqlConnection& connection_;
};

// Those that are final, or those that are not, as a list of SQL.
std::string StatesThatAre(bool final) {
  std::vector<v1::FineTuneJob::State> states;
  for (int state = v1::FineTuneJob::State_MIN; state <= v1::FineTuneJob::State_MAX; ++state) {
    const auto value = static_cast<v1::FineTuneJob::State>(state);
    if (IsFinal(value) == final) states.push_back(value);
  }
  return StateList(states);
}

absl::StatusOr<int64_t> FirstEvent(SqlConnection& connection, int64_t order) {
  LONGLORA_SQL_STATEMENT(read, connection,
                         "SELECT coalesce(min(sequence), 0) FROM job_events WHERE job_order = ?1");
  read.Bind(1, order);
  LONGLORA_ASSIGN_OR_RETURN(const bool found, read.Step());
  return found ? read.Int(0) : 0;
}

}  // namespace

SqlReaders::Lease::~Lease() {
  if (connection_ != nullptr) readers_->Return(std::move(connection_));
}

bool SqlReaders::CanBorrow() const { return !idle_.empty() || lent_ < kConnectionsMax; }

absl::StatusOr<SqlReaders::Lease> SqlReaders::Borrow() {
  {
    absl::MutexLock lock(&mutex_);
    common::Await(&mutex_, absl::Condition(this, &SqlReaders::CanBorrow));
    ++lent_;
    if (!idle_.empty()) {
      Lease lease(*this, std::move(idle_.back()));
      idle_.pop_back();
      return lease;
    }
  }
  absl::StatusOr<std::unique_ptr<SqlConnection>> connection = connect_();
  if (!connection.ok()) {
    absl::MutexLock lock(&mutex_);
    --lent_;
    return std::move(connection).status();
  }
  return Lease(*this, *std::move(connection));
}

void SqlReaders::Return(std::unique_ptr<SqlConnection> connection) {
  absl::MutexLock lock(&mutex_);
  --lent_;
  if (connection->broken()) {
    idle_.clear();  // what broke it will have broken those, too
  } else {
    idle_.push_back(std::move(connection));
  }
}

template <typename T>
absl::StatusOr<T> SqlReaders::Read(
    absl::FunctionRef<absl::StatusOr<T>(SqlConnection& connection)> query) {
  {
    LONGLORA_ASSIGN_OR_RETURN(const Lease connection, Borrow());
    absl::StatusOr<T> result = query(*connection);
    if (result.ok() || !connection->broken()) return result;
  }
  // The database was restarted, say, since that connection was made.
  LONGLORA_ASSIGN_OR_RETURN(const Lease connection, Borrow());
  return query(*connection);
}

absl::StatusOr<StoredJob> SqlReaders::ReadJob(absl::string_view id) {
  return Read<StoredJob>([&](SqlConnection& connection) -> absl::StatusOr<StoredJob> {
    LONGLORA_SQL_STATEMENT(read, connection, LONGLORA_JOB_COLUMNS "WHERE j.id = ?1");
    read.BindText(1, id);
    return ReadOne(read, id);
  });
}

absl::StatusOr<StoredJob> SqlReaders::ReadJobByRequestId(absl::string_view request_id) {
  return Read<StoredJob>([&](SqlConnection& connection) -> absl::StatusOr<StoredJob> {
    LONGLORA_SQL_STATEMENT(read, connection, LONGLORA_JOB_COLUMNS "WHERE j.request_id = ?1");
    read.BindText(1, request_id);
    return ReadOne(read, request_id);
  });
}

absl::StatusOr<std::vector<StoredJob>> SqlReaders::ListJobs(const JobQuery& query) {
  return Read<std::vector<StoredJob>>(
      [&](SqlConnection& connection) -> absl::StatusOr<std::vector<StoredJob>> {
        const std::string sql = absl::StrCat(
            LONGLORA_JOB_COLUMNS "WHERE (?1 = 0 OR j.job_order < ?1)",
            query.states.empty() ? ""
                                 : absl::StrCat(" AND j.state IN (", StateList(query.states), ")"),
            " ORDER BY j.job_order DESC LIMIT ?2");
        LONGLORA_SQL_STATEMENT(read, connection, sql);
        read.Bind(1, query.before_order).Bind(2, query.limit);
        return ReadRows(read);
      });
}

absl::StatusOr<std::vector<StoredJob>> SqlReaders::ListLiveJobs() {
  return Read<std::vector<StoredJob>>(
      [&](SqlConnection& connection) -> absl::StatusOr<std::vector<StoredJob>> {
        const std::string sql =
            absl::StrCat(LONGLORA_JOB_COLUMNS "WHERE j.state IN (", StatesThatAre(/*final=*/false),
                         ") ORDER BY j.job_order");
        LONGLORA_SQL_STATEMENT(read, connection, sql);
        return ReadRows(read);
      });
}

absl::StatusOr<EventPage> SqlReaders::ReadEvents(absl::string_view id, int64_t after_sequence,
                                                 int32_t limit) {
  return Read<EventPage>([&](SqlConnection& connection) -> absl::StatusOr<EventPage> {
    ReadTransaction view(connection);
    LONGLORA_RETURN_IF_ERROR(view.Begin());
    LONGLORA_SQL_STATEMENT(
        job, connection,
        "SELECT j.job_order, j.state, c.last_event_sequence FROM jobs j JOIN job_cursors c "
        "USING(job_order) WHERE j.id = ?1");
    job.BindText(1, id);
    LONGLORA_ASSIGN_OR_RETURN(const bool job_found, job.Step());
    if (!job_found) return absl::NotFoundError(absl::StrCat("no job \"", id, "\" is stored"));
    EventPage page;
    page.job_is_final = IsFinal(static_cast<v1::FineTuneJob::State>(job.Int(1)));
    page.last_event_sequence = job.Int(2);

    LONGLORA_SQL_STATEMENT(read, connection,
                           "SELECT sequence, event FROM job_events WHERE job_order = ?1 AND "
                           "sequence > ?2 ORDER BY sequence LIMIT ?3");
    read.Bind(1, job.Int(0)).Bind(2, after_sequence).Bind(3, limit);
    LONGLORA_ASSIGN_OR_RETURN(page.first_event_sequence, FirstEvent(connection, job.Int(0)));
    while (true) {
      LONGLORA_ASSIGN_OR_RETURN(const bool found, read.Step());
      if (!found) return page;
      LONGLORA_RETURN_IF_ERROR(ParseStored(read.Bytes(1),
                                           absl::StrCat("event ", read.Int(0), " of job ", id),
                                           page.events.emplace_back()));
    }
  });
}

absl::StatusOr<std::vector<StoredJob>> SqlReaders::ListEventLogs(const EventLogQuery& query) {
  return Read<std::vector<StoredJob>>(
      [&](SqlConnection& connection) -> absl::StatusOr<std::vector<StoredJob>> {
        // The first two conditions are cheap and leave few for the third.
        const std::string sql = absl::StrCat(
            LONGLORA_JOB_COLUMNS "WHERE j.job_order > ?1 AND c.last_event_sequence > ?2",
            query.final_only ? absl::StrCat(" AND j.state IN (", StatesThatAre(/*final=*/true), ")")
                             : "",
            " AND c.last_event_sequence - (SELECT min(e.sequence) FROM job_events e "
            "WHERE e.job_order = j.job_order) + 1 > ?2 ORDER BY j.job_order LIMIT ?3");
        LONGLORA_SQL_STATEMENT(read, connection, sql);
        read.Bind(1, query.after_order).Bind(2, query.more_than).Bind(3, query.limit);
        return ReadRows(read);
      });
}

absl::StatusOr<std::vector<internal::v1::WorkerRecord>> SqlReaders::ListWorkers() {
  return Read<std::vector<internal::v1::WorkerRecord>>(
      [&](SqlConnection& connection) -> absl::StatusOr<std::vector<internal::v1::WorkerRecord>> {
        LONGLORA_SQL_STATEMENT(read, connection, "SELECT name, record FROM workers ORDER BY name");
        std::vector<internal::v1::WorkerRecord> workers;
        while (true) {
          LONGLORA_ASSIGN_OR_RETURN(const bool found, read.Step());
          if (!found) return workers;
          LONGLORA_RETURN_IF_ERROR(ParseStored(
              read.Bytes(1), absl::StrCat("worker ", read.Bytes(0)), workers.emplace_back()));
        }
      });
}

absl::StatusOr<std::map<v1::FineTuneJob::State, int64_t>> SqlReaders::CountJobsByState() {
  return Read<std::map<v1::FineTuneJob::State, int64_t>>(
      [&](SqlConnection& connection) -> absl::StatusOr<std::map<v1::FineTuneJob::State, int64_t>> {
        LONGLORA_SQL_STATEMENT(read, connection, "SELECT state, count(*) FROM jobs GROUP BY state");
        std::map<v1::FineTuneJob::State, int64_t> counts;
        while (true) {
          LONGLORA_ASSIGN_OR_RETURN(const bool found, read.Step());
          if (!found) return counts;
          counts[static_cast<v1::FineTuneJob::State>(read.Int(0))] = read.Int(1);
        }
      });
}

absl::StatusOr<int64_t> SqlReaders::NewestOrder() {
  return Read<int64_t>([&](SqlConnection& connection) -> absl::StatusOr<int64_t> {
    LONGLORA_SQL_STATEMENT(read, connection, "SELECT coalesce(max(job_order), 0) FROM jobs");
    LONGLORA_ASSIGN_OR_RETURN(const bool found, read.Step());
    return found ? read.Int(0) : 0;
  });
}

}  // namespace longlora::server
