// What an operator sets of a server: flags, or the same keys in a file. Used by main and by tests.
#ifndef LONGLORA_SERVER_SERVER_CONFIG_H_
#define LONGLORA_SERVER_SERVER_CONFIG_H_

#include <cstdint>
#include <string>
#include <variant>

#include "rpc/credentials.h"
#include "server/api/limits.h"
#include "server/events/event_retention.h"
#include "server/scheduler/scheduler_options.h"

namespace longlora::server {

struct ServerConfig {
  std::string data_dir;  // the store, dataset files and artifacts; created when missing
  std::string store;     // URL of a PostgreSQL database for the store; empty: SQLite in data_dir
  bool standby = false;  // wait while another server has the store, then take over
  // HOST:PORT; port 0 takes a free one. Empty metrics_listen: no metrics are served.
  std::string listen = "127.0.0.1:7070";
  std::string metrics_listen = "127.0.0.1:9464";
  std::string read_listen;  // HOST:PORT that only reads the PostgreSQL store; empty: none
  rpc::ServerSecurity security;
  std::string token_file;  // empty: no token is asked for
  int64_t max_file_bytes = int64_t{64} << 30;
  int64_t max_artifact_bytes = int64_t{1} << 40;
  Limits limits;
  SchedulerOptions scheduler;
  EventRetentionOptions retention;
  std::string queues;  // file, see server/scheduler/queue_config.h; empty: one queue without limits
  std::string log_level = "info";  // trace | debug | info | warn | error | off
};

// The subcommands `backup` and `restore`.
struct DataCopyCommand {
  bool restore = false;
  std::string from;
  std::string to;
};

// The flags of longlora-server. A config, a subcommand, or the exit code of a program that is done:
// --help and --version (0), and bad usage (2), which were printed.
std::variant<ServerConfig, DataCopyCommand, int> ParseServerConfig(int argc,
                                                                   const char* const* argv);

}  // namespace longlora::server

#endif  // LONGLORA_SERVER_SERVER_CONFIG_H_
