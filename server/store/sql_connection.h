// What the job store asks of a SQL database, so that each of its statements is written once: in the
// SQL that SQLite and PostgreSQL share, with parameters ?1, ?2. Drivers: sqlite_connection and
// postgres_connection. A connection, with its statements, belongs to one thread at a time.
//
// Errors of every call: RESOURCE_EXHAUSTED when the disk is full, ALREADY_EXISTS for a broken
// uniqueness, else UNAVAILABLE; with the database's words.
#ifndef LONGLORA_SERVER_STORE_SQL_CONNECTION_H_
#define LONGLORA_SERVER_STORE_SQL_CONNECTION_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/status/status_macros.h"

namespace longlora::server {

// One run of a prepared statement: bind, step, read columns.
class SqlStatement {
 public:
  virtual ~SqlStatement() = default;

  // Parameters count from 1. `value` must live until the statement is destroyed.
  virtual SqlStatement& Bind(int parameter, int64_t value) = 0;
  virtual SqlStatement& BindText(int parameter, absl::string_view value) = 0;
  virtual SqlStatement& BindBlob(int parameter, absl::string_view value) = 0;
  virtual SqlStatement& BindNull(int parameter) = 0;

  // True: a row is there. False: done.
  virtual absl::StatusOr<bool> Step() = 0;
  // For statements that return no rows.
  absl::Status Run() { return Step().status(); }

  // Columns count from 0. NULL is 0, and no bytes.
  virtual int64_t Int(int column) const = 0;
  virtual absl::string_view Bytes(int column) const = 0;  // valid until the next Step
};

class SqlConnection {
 public:
  virtual ~SqlConnection() = default;

  // A run of `sql`, which is prepared on first use and kept.
  virtual absl::StatusOr<std::unique_ptr<SqlStatement>> Prepare(absl::string_view sql) = 0;
  // Runs statements that take no parameters and return no rows.
  virtual absl::Status Execute(const char* sql) = 0;

  // A transaction that sees one state of the database and changes nothing.
  virtual absl::Status BeginRead() = 0;
  // One that writes, alone.
  virtual absl::Status BeginWrite() = 0;
  // Whether one is open. Some errors end it.
  virtual bool InTransaction() const = 0;
  // Whether it is of no use any more, because the database is gone or ended it.
  virtual bool broken() const = 0;

  // `schema`, written for SQLite, with this database's own words for types.
  virtual std::string Translate(absl::string_view schema) const = 0;
};

// Makes another connection to the same database.
using SqlConnector = std::function<absl::StatusOr<std::unique_ptr<SqlConnection>>()>;

// Declares `name`, a SqlStatement for `sql` on `connection`, or returns the error.
#define LONGLORA_SQL_STATEMENT(name, connection, sql)                                        \
  LONGLORA_ASSIGN_OR_RETURN(const std::unique_ptr<::longlora::server::SqlStatement> name##_, \
                            (connection).Prepare(sql));                                      \
  ::longlora::server::SqlStatement& name = *name##_

}  // namespace longlora::server

#endif  // LONGLORA_SERVER_STORE_SQL_CONNECTION_H_
