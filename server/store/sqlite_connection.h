// The driver for SQLite.
#ifndef LONGLORA_SERVER_STORE_SQLITE_CONNECTION_H_
#define LONGLORA_SERVER_STORE_SQLITE_CONNECTION_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "server/store/sql_connection.h"

namespace longlora::server {

// Opens or creates `path` in WAL mode with synchronous=FULL.
absl::StatusOr<std::unique_ptr<SqlConnection>> OpenSqlite(const std::string& path);

}  // namespace longlora::server

#endif  // LONGLORA_SERVER_STORE_SQLITE_CONNECTION_H_
