#include "server/store/sqlite_connection.h"

#include "absl/strings/str_cat.h"
#include "common/status/status_macros.h"

namespace longlora::server {

absl::Status SqliteError(sqlite3* database, absl::string_view what) {
  const std::string message = absl::StrCat("SQLite, ", what, ": ", sqlite3_errmsg(database));
  switch (sqlite3_extended_errcode(database)) {
    case SQLITE_FULL:
      return absl::ResourceExhaustedError(message);
    case SQLITE_CONSTRAINT_UNIQUE:
    case SQLITE_CONSTRAINT_PRIMARYKEY:
      return absl::AlreadyExistsError(message);
    default:
      return absl::UnavailableError(message);
  }
}

SqliteStatement::~SqliteStatement() {
  // The result repeats an error that Step has already returned.
  sqlite3_reset(statement_);
  sqlite3_clear_bindings(statement_);
}

SqliteStatement& SqliteStatement::Bind(int parameter, int64_t value) {
  if (bind_result_ == SQLITE_OK) bind_result_ = sqlite3_bind_int64(statement_, parameter, value);
  return *this;
}

SqliteStatement& SqliteStatement::BindText(int parameter, absl::string_view value) {
  if (bind_result_ == SQLITE_OK) {
    bind_result_ = sqlite3_bind_text64(statement_, parameter, value.empty() ? "" : value.data(),
                                       value.size(), SQLITE_STATIC, SQLITE_UTF8);
  }
  return *this;
}

SqliteStatement& SqliteStatement::BindBlob(int parameter, absl::string_view value) {
  if (bind_result_ == SQLITE_OK) {
    // A null pointer would bind NULL instead of no bytes.
    bind_result_ = sqlite3_bind_blob64(statement_, parameter, value.empty() ? "" : value.data(),
                                       value.size(), SQLITE_STATIC);
  }
  return *this;
}

SqliteStatement& SqliteStatement::BindNull(int parameter) {
  if (bind_result_ == SQLITE_OK) bind_result_ = sqlite3_bind_null(statement_, parameter);
  return *this;
}

absl::StatusOr<bool> SqliteStatement::Step() {
  if (bind_result_ != SQLITE_OK) return SqliteError(database_, "bind");
  switch (sqlite3_step(statement_)) {
    case SQLITE_ROW:
      return true;
    case SQLITE_DONE:
      return false;
    default:
      return SqliteError(database_, sqlite3_sql(statement_));
  }
}

absl::Status SqliteStatement::Run() { return Step().status(); }

int64_t SqliteStatement::Int(int column) const { return sqlite3_column_int64(statement_, column); }

absl::string_view SqliteStatement::Bytes(int column) const {
  const void* data = sqlite3_column_blob(statement_, column);
  const int size = sqlite3_column_bytes(statement_, column);
  return {static_cast<const char*>(data), static_cast<size_t>(size)};
}

absl::StatusOr<std::unique_ptr<SqliteConnection>> SqliteConnection::Open(const std::string& path) {
  sqlite3* database = nullptr;
  const int result =
      sqlite3_open_v2(path.c_str(), &database,
                      SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, nullptr);
  // Also a failed open gives a handle to close.
  std::unique_ptr<SqliteConnection> connection(new SqliteConnection(database));
  if (result != SQLITE_OK) return SqliteError(database, absl::StrCat("open ", path));
  sqlite3_extended_result_codes(database, 1);
  // Only a checkpoint of the log, or another process's backup, makes one connection wait for
  // another.
  sqlite3_busy_timeout(database, 10'000);
  LONGLORA_RETURN_IF_ERROR(connection->Execute("PRAGMA journal_mode=WAL"));
  LONGLORA_RETURN_IF_ERROR(connection->Execute("PRAGMA synchronous=FULL"));
  return connection;
}

SqliteConnection::~SqliteConnection() {
  for (const auto& [sql, statement] : statements_) sqlite3_finalize(statement);
  sqlite3_close(database_);
}

absl::StatusOr<sqlite3_stmt*> SqliteConnection::Prepare(absl::string_view sql) {
  const auto found = statements_.find(sql);
  if (found != statements_.end()) return found->second;
  sqlite3_stmt* statement = nullptr;
  if (sqlite3_prepare_v3(database_, sql.data(), static_cast<int>(sql.size()),
                         SQLITE_PREPARE_PERSISTENT, &statement, nullptr) != SQLITE_OK) {
    return SqliteError(database_, sql);
  }
  statements_.emplace(sql, statement);
  return statement;
}

absl::Status SqliteConnection::Execute(const char* sql) {
  if (sqlite3_exec(database_, sql, nullptr, nullptr, nullptr) != SQLITE_OK) {
    return SqliteError(database_, sql);
  }
  return absl::OkStatus();
}

}  // namespace longlora::server
