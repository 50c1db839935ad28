// Tables of the SQLite store and how an older file becomes a present one.
#ifndef LONGLORA_SERVER_STORE_SQLITE_SCHEMA_H_
#define LONGLORA_SERVER_STORE_SQLITE_SCHEMA_H_

#include "absl/status/status.h"
#include "server/store/sqlite_connection.h"

namespace longlora::server {

// The version this program writes.
int SqliteSchemaVersion();

// Applies every migration the file lacks, each in a transaction of its own. FAILED_PRECONDITION
// when the file's schema is newer than this program: nothing is touched.
absl::Status MigrateSqliteSchema(SqliteConnection& connection);

}  // namespace longlora::server

#endif  // LONGLORA_SERVER_STORE_SQLITE_SCHEMA_H_
