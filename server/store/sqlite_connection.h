// SQLite's C interface with owners and Status. A connection belongs to one thread at a time.
#ifndef LONGLORA_SERVER_STORE_SQLITE_CONNECTION_H_
#define LONGLORA_SERVER_STORE_SQLITE_CONNECTION_H_

#include <sqlite3.h>

#include <cstdint>
#include <memory>
#include <string>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace longlora::server {

// One run of a prepared statement: bind, step, read columns. Resets the statement when destroyed.
class SqliteStatement {
 public:
  SqliteStatement(sqlite3* database, sqlite3_stmt* statement)
      : database_(database), statement_(statement) {}
  SqliteStatement(const SqliteStatement&) = delete;
  SqliteStatement& operator=(const SqliteStatement&) = delete;
  ~SqliteStatement();

  // Parameters count from 1. `value` must live until the statement is destroyed.
  SqliteStatement& Bind(int parameter, int64_t value);
  SqliteStatement& BindText(int parameter, absl::string_view value);
  SqliteStatement& BindBlob(int parameter, absl::string_view value);
  SqliteStatement& BindNull(int parameter);

  // True: a row is there. False: done.
  absl::StatusOr<bool> Step();
  // For statements that return no rows.
  absl::Status Run();

  // Columns count from 0.
  int64_t Int(int column) const;
  absl::string_view Bytes(int column) const;  // valid until the next Step

 private:
  sqlite3* const database_;
  sqlite3_stmt* const statement_;
  int bind_result_ = SQLITE_OK;
};

class SqliteConnection {
 public:
  // Opens or creates `path` in WAL mode with synchronous=FULL.
  static absl::StatusOr<std::unique_ptr<SqliteConnection>> Open(const std::string& path);
  ~SqliteConnection();

  // Prepares `sql` on first use and keeps it.
  absl::StatusOr<sqlite3_stmt*> Prepare(absl::string_view sql);
  // Runs statements that take no parameters and return no rows.
  absl::Status Execute(const char* sql);
  sqlite3* get() const { return database_; }
  // Rows the last statement changed.
  int64_t changed_rows() const { return sqlite3_changes(database_); }

 private:
  explicit SqliteConnection(sqlite3* database) : database_(database) {}

  sqlite3* const database_;
  absl::flat_hash_map<std::string, sqlite3_stmt*> statements_;
};

// Declares `name`, a SqliteStatement for `sql` on `connection`, or returns the error.
#define LONGLORA_SQLITE_STATEMENT(name, connection, sql)                             \
  LONGLORA_ASSIGN_OR_RETURN(sqlite3_stmt* const name##_, (connection).Prepare(sql)); \
  SqliteStatement name((connection).get(), name##_)

// The Status for a failed call: RESOURCE_EXHAUSTED when the disk is full, ALREADY_EXISTS for a
// broken uniqueness, else UNAVAILABLE; with SQLite's words.
absl::Status SqliteError(sqlite3* database, absl::string_view what);

}  // namespace longlora::server

#endif  // LONGLORA_SERVER_STORE_SQLITE_CONNECTION_H_
