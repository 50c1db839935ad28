// longlora-server: flags, signals, exit codes. Everything else is in server.cc.
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>

#include <csignal>
#include <cstdio>
#include <memory>
#include <variant>

#include "absl/synchronization/mutex.h"
#include "server/backup/data_copy.h"
#include "server/read_server.h"
#include "server/server.h"
#include "server/server_config.h"
#include "server/standby.h"

namespace {

using longlora::server::DataCopyCommand;
using longlora::server::Server;
using longlora::server::ServerConfig;

// SIGTERM and SIGINT wait for sigwait below, in every thread that will be started.
sigset_t BlockStopSignals() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  std::signal(SIGPIPE, SIG_IGN);
  return signals;
}

int Fail(const absl::Status& status) {
  std::fprintf(stderr, "longlora-server: %s\n", std::string(status.message()).c_str());
  return absl::IsInvalidArgument(status) ? 2 : 1;
}

int RunDataCopy(const DataCopyCommand& command) {
  const auto report = command.restore ? longlora::server::Restore(command.from, command.to)
                                      : longlora::server::BackUp(command.from, command.to);
  if (!report.ok()) return Fail(report.status());
  std::printf("%s has %lld job(s) with %lld file(s); %lld file(s), %lld bytes were copied\n",
              command.to.c_str(), static_cast<long long>(report->jobs),
              static_cast<long long>(report->files), static_cast<long long>(report->copied_files),
              static_cast<long long>(report->copied_bytes));
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
#ifdef NDEBUG
  // Debian builds Abseil with it: every lock would look for cycles under one lock of the process.
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
#endif
  const auto parsed =
      longlora::server::ParseServerConfig(argc, const_cast<const char* const*>(argv));
  if (const int* exit_code = std::get_if<int>(&parsed)) return *exit_code;
  if (const auto* copy = std::get_if<DataCopyCommand>(&parsed)) return RunDataCopy(*copy);
  const ServerConfig& config = std::get<ServerConfig>(parsed);
  spdlog::set_default_logger(spdlog::stderr_color_mt("server"));
  spdlog::set_level(spdlog::level::from_str(config.log_level));

  const sigset_t signals = BlockStopSignals();
  const auto reads = longlora::server::ReadServer::Start(config);
  if (!reads.ok()) return Fail(reads.status());
  const absl::StatusOr<std::unique_ptr<Server>> server =
      longlora::server::StartOrStandBy(config, signals);
  if (absl::IsCancelled(server.status())) return 0;
  if (!server.ok()) return Fail(server.status());
  // For people and for scripts that started us with port 0; not subject to --log-level.
  std::fprintf(stderr, "longlora-server: ready, gRPC on port %d (%s), metrics on port %d (%s)\n",
               (*server)->port(), config.listen.c_str(), (*server)->metrics_port(),
               config.metrics_listen.c_str());
  int signal = 0;
  sigwait(&signals, &signal);
  spdlog::info("stopping on signal {}", signal);
  return (*server)->lost_store() ? 1 : 0;
}
