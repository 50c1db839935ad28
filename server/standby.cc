#include "server/standby.h"

#include <spdlog/spdlog.h>

#include <string>

namespace longlora::server {

absl::StatusOr<std::unique_ptr<Server>> StartOrStandBy(const ServerConfig& config,
                                                       const sigset_t& stop_signals) {
  constexpr timespec kPause = {.tv_sec = 1, .tv_nsec = 0};
  std::string waits_for;
  while (true) {
    absl::StatusOr<std::unique_ptr<Server>> server = Server::Start(config);
    const bool worth_waiting =
        absl::IsAlreadyExists(server.status()) || absl::IsUnavailable(server.status());
    if (!config.standby || !worth_waiting) return server;
    if (server.status().message() != waits_for) {
      waits_for = std::string(server.status().message());
      spdlog::info("standing by: {}", waits_for);
    }
    if (sigtimedwait(&stop_signals, nullptr, &kPause) > 0) return absl::CancelledError("stopped");
  }
}

}  // namespace longlora::server
