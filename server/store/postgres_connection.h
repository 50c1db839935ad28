// The driver for PostgreSQL 12 or later, over libpq.
#ifndef LONGLORA_SERVER_STORE_POSTGRES_CONNECTION_H_
#define LONGLORA_SERVER_STORE_POSTGRES_CONNECTION_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "server/store/sql_connection.h"

namespace longlora::server {

// Connects to `url` (postgresql://..., libpq's connection URI). Commits are durable when they
// return (synchronous_commit); a server or network that is gone is noticed within some seconds.
// UNAVAILABLE, with libpq's words.
absl::StatusOr<std::unique_ptr<SqlConnection>> OpenPostgres(const std::string& url);

}  // namespace longlora::server

#endif  // LONGLORA_SERVER_STORE_POSTGRES_CONNECTION_H_
