// longlora-worker: flags, signals, exit codes. Everything else is in worker.cc.
#include <pthread.h>
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstdio>
#include <memory>
#include <string>
#include <thread>
#include <variant>

#include "worker/worker.h"
#include "worker/worker_config.h"

namespace {

using longlora::worker::Worker;
using longlora::worker::WorkerConfig;

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
  std::fprintf(stderr, "longlora-worker: %s\n", std::string(status.message()).c_str());
  return absl::IsInvalidArgument(status) || absl::IsFailedPrecondition(status) ? 2 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  std::variant<WorkerConfig, int> parsed =
      longlora::worker::ParseWorkerConfig(argc, const_cast<const char* const*>(argv));
  if (const int* exit_code = std::get_if<int>(&parsed)) return *exit_code;
  const WorkerConfig& config = std::get<WorkerConfig>(parsed);
  spdlog::set_default_logger(spdlog::stderr_color_mt("worker"));
  spdlog::set_level(spdlog::level::from_str(config.log_level));

  const sigset_t signals = BlockStopSignals();
  absl::StatusOr<std::unique_ptr<Worker>> worker = Worker::Start(config);
  if (!worker.ok()) return Fail(worker.status());
  // For people and for scripts that started us with port 0; not subject to --log-level.
  std::fprintf(stderr, "longlora-worker: ready, metrics on port %d (%s), server %s\n",
               (*worker)->metrics_port(), config.metrics_listen.c_str(), config.server.c_str());

  std::atomic<bool> done = false;
  std::thread stopper([&] {
    for (int count = 0;; ++count) {
      int signal = 0;
      sigwait(&signals, &signal);
      if (done) return;
      // Whoever asks twice does not want to wait; the trainers die with this process.
      if (count > 0) _exit(1);
      spdlog::info("leaving on signal {}", signal);
      (*worker)->Leave();
    }
  });
  const absl::Status status = (*worker)->Run();
  done = true;
  pthread_kill(stopper.native_handle(), SIGTERM);
  stopper.join();
  return status.ok() ? 0 : Fail(status);
}
