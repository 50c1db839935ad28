// A second server on the same PostgreSQL store, which waits until the first one is gone. Used by
// main.
#ifndef LONGLORA_SERVER_STANDBY_H_
#define LONGLORA_SERVER_STANDBY_H_

#include <csignal>
#include <memory>

#include "absl/status/statusor.h"
#include "server/server.h"
#include "server/server_config.h"

namespace longlora::server {

// Server::Start. With config.standby it is tried again, every second, while another server has the
// store, the database is away or the address is taken. CANCELLED: one of `stop_signals`, which are
// blocked, came meanwhile.
absl::StatusOr<std::unique_ptr<Server>> StartOrStandBy(const ServerConfig& config,
                                                       const sigset_t& stop_signals);

}  // namespace longlora::server

#endif  // LONGLORA_SERVER_STANDBY_H_
