#include "server/store/sqlite_connection.h"

#include <sqlite3.h>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"

namespace longlora::server {
namespace {

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

// Resets the prepared statement when destroyed.
class SqliteStatement : public SqlStatement {
 public:
  SqliteStatement(sqlite3* database, sqlite3_stmt* statement)
      : database_(database), statement_(statement) {}
  ~SqliteStatement() override {
    // The result repeats an error that Step has already returned.
    sqlite3_reset(statement_);
    sqlite3_clear_bindings(statement_);
  }
  SqliteStatement(const SqliteStatement&) = delete;
  SqliteStatement& operator=(const SqliteStatement&) = delete;

  SqlStatement& Bind(int parameter, int64_t value) override {
    if (bind_result_ == SQLITE_OK) bind_result_ = sqlite3_bind_int64(statement_, parameter, value);
    return *this;
  }
  SqlStatement& BindText(int parameter, absl::string_view value) override {
    if (bind_result_ == SQLITE_OK) {
      bind_result_ = sqlite3_bind_text64(statement_, parameter, value.empty() ? "" : value.data(),
                                         value.size(), SQLITE_STATIC, SQLITE_UTF8);
    }
    return *this;
  }
  SqlStatement& BindBlob(int parameter, absl::string_view value) override {
    if (bind_result_ == SQLITE_OK) {
      // A null pointer would bind NULL instead of no bytes.
      bind_result_ = sqlite3_bind_blob64(statement_, parameter, value.empty() ? "" : value.data(),
                                         value.size(), SQLITE_STATIC);
    }
    return *this;
  }
  SqlStatement& BindNull(int parameter) override {
    if (bind_result_ == SQLITE_OK) bind_result_ = sqlite3_bind_null(statement_, parameter);
    return *this;
  }

  absl::StatusOr<bool> Step() override {
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

  int64_t Int(int column) const override { return sqlite3_column_int64(statement_, column); }
  absl::string_view Bytes(int column) const override {
    const void* data = sqlite3_column_blob(statement_, column);
    const int size = sqlite3_column_bytes(statement_, column);
    return {static_cast<const char*>(data), static_cast<size_t>(size)};
  }

 private:
  sqlite3* const database_;
  sqlite3_stmt* const statement_;
  int bind_result_ = SQLITE_OK;
};

class SqliteConnection : public SqlConnection {
 public:
  explicit SqliteConnection(sqlite3* database) : database_(database) {}
  ~SqliteConnection() override {
    for (const auto& [sql, statement] : statements_) sqlite3_finalize(statement);
    sqlite3_close(database_);
  }
  SqliteConnection(const SqliteConnection&) = delete;
  SqliteConnection& operator=(const SqliteConnection&) = delete;

  absl::StatusOr<std::unique_ptr<SqlStatement>> Prepare(absl::string_view sql) override {
    sqlite3_stmt*& statement = statements_[sql];
    if (statement == nullptr &&
        sqlite3_prepare_v3(database_, sql.data(), static_cast<int>(sql.size()),
                           SQLITE_PREPARE_PERSISTENT, &statement, nullptr) != SQLITE_OK) {
      return SqliteError(database_, sql);
    }
    return std::make_unique<SqliteStatement>(database_, statement);
  }

  absl::Status Execute(const char* sql) override {
    if (sqlite3_exec(database_, sql, nullptr, nullptr, nullptr) != SQLITE_OK) {
      return SqliteError(database_, sql);
    }
    return absl::OkStatus();
  }

  absl::Status BeginRead() override { return Execute("BEGIN"); }
  absl::Status BeginWrite() override { return Execute("BEGIN IMMEDIATE"); }
  bool InTransaction() const override { return sqlite3_get_autocommit(database_) == 0; }
  bool broken() const override { return false; }
  std::string Translate(absl::string_view schema) const override { return std::string(schema); }

 private:
  sqlite3* const database_;
  absl::flat_hash_map<std::string, sqlite3_stmt*> statements_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<SqlConnection>> OpenSqlite(const std::string& path) {
  sqlite3* database = nullptr;
  const int result =
      sqlite3_open_v2(path.c_str(), &database,
                      SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, nullptr);
  // Also a failed open gives a handle to close.
  auto connection = std::make_unique<SqliteConnection>(database);
  if (result != SQLITE_OK) return SqliteError(database, absl::StrCat("open ", path));
  sqlite3_extended_result_codes(database, 1);
  // Only a checkpoint of the log, or another process's backup, makes one connection wait for
  // another.
  sqlite3_busy_timeout(database, 10'000);
  LONGLORA_RETURN_IF_ERROR(connection->Execute("PRAGMA journal_mode=WAL"));
  LONGLORA_RETURN_IF_ERROR(connection->Execute("PRAGMA synchronous=FULL"));
  return std::unique_ptr<SqlConnection>(std::move(connection));
}

}  // namespace longlora::server
