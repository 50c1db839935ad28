// What an operator tells the worker: flags, and the configuration file that takes the same keys.
// Plain data and its parser; used by main and worker.
#ifndef LONGLORA_WORKER_WORKER_CONFIG_H_
#define LONGLORA_WORKER_WORKER_CONFIG_H_

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "absl/time/time.h"
#include "rpc/credentials.h"

namespace longlora::worker {

struct WorkerConfig {
  std::string server;     // HOST:PORT
  std::string name;       // see SynchronizeRequest.worker
  std::string work_dir;   // for this worker alone
  std::string model_dir;  // base models by name
  std::string metrics_listen = "127.0.0.1:9202";
  std::string devices = "cuda";              // or cpu:N
  std::string trainer;                       // path; empty: longlora-trainer beside this program
  std::vector<std::string> allowed_roots;    // jobs may name paths below these
  std::vector<std::string> labels;           // KEY=VALUE, that jobs may ask for
  absl::Duration grace = absl::Seconds(30);  // from SIGTERM to SIGKILL
  absl::Duration pause_grace = absl::Minutes(10);   // the same when a job pauses
  absl::Duration hang_timeout = absl::Minutes(30);  // without an event of a trainer
  absl::Duration leave_timeout = absl::Minutes(5);  // to stop attempts and deliver checkpoints
  uint64_t cache_bytes = uint64_t{50} << 30;        // of dataset files
  std::string log_level = "info";
  rpc::ClientSecurity security;
};

// The configuration; or the exit code, after help, version or an error was printed.
std::variant<WorkerConfig, int> ParseWorkerConfig(int argc, const char* const* argv);

}  // namespace longlora::worker

#endif  // LONGLORA_WORKER_WORKER_CONFIG_H_
