// Tables of the job store and how an older one becomes a present one.
#ifndef LONGLORA_SERVER_STORE_SQL_SCHEMA_H_
#define LONGLORA_SERVER_STORE_SQL_SCHEMA_H_

#include "absl/status/status.h"
#include "server/store/sql_connection.h"

namespace longlora::server {

// The version this program writes.
int SchemaVersion();

// Applies every migration the database lacks, each in a transaction of its own. FAILED_PRECONDITION
// when its schema is newer than this program: nothing is touched.
absl::Status MigrateSchema(SqlConnection& connection);

// For who only reads: OK when the database has exactly the version that this program writes, else
// UNAVAILABLE, with the way out. Changes nothing.
absl::Status CheckSchema(SqlConnection& connection);

}  // namespace longlora::server

#endif  // LONGLORA_SERVER_STORE_SQL_SCHEMA_H_
