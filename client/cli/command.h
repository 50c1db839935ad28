// What every subcommand shares: the options of all commands, and how a subcommand makes itself
// known. Each subcommand is one file with one Add function, and so are those that
// steer a worker; main.cc calls them all.
#ifndef LONGLORA_CLIENT_CLI_COMMAND_H_
#define LONGLORA_CLIENT_CLI_COMMAND_H_

#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "client/cli/console.h"
#include "client/cli/exit_code.h"
#include "client/fine_tune_client.h"

namespace CLI {
class App;
}

namespace longlora::client {

// Options that every command takes.
struct GlobalOptions {
  std::string server = "127.0.0.1:7070";
  rpc::ClientSecurity security;
  std::string output = "table";  // or "json"
  bool quiet = false;
};

// What a chosen command runs with.
struct Environment {
  GlobalOptions options;
  Console console;
  Cancellation cancellation;  // an Interrupt cancels it

  bool json() const { return options.output == "json"; }
  // A client of the server that the options name.
  absl::StatusOr<std::unique_ptr<FineTuneClient>> Connect();
};

// Runs a command to the end; an error is shown and decides the exit code.
using Action = std::function<absl::StatusOr<int>(Environment&)>;

// Each adds its subcommand, which sets `chosen` when the user names it.
void AddSubmit(CLI::App& app, Action& chosen);
void AddEstimate(CLI::App& app, Action& chosen);
void AddGet(CLI::App& app, Action& chosen);
void AddList(CLI::App& app, Action& chosen);
void AddWatch(CLI::App& app, Action& chosen);
void AddLogs(CLI::App& app, Action& chosen);
void AddPause(CLI::App& app, Action& chosen);
void AddResume(CLI::App& app, Action& chosen);
void AddCancel(CLI::App& app, Action& chosen);
void AddDelete(CLI::App& app, Action& chosen);
void AddCheckpoints(CLI::App& app, Action& chosen);
void AddDownload(CLI::App& app, Action& chosen);
void AddQueue(CLI::App& app, Action& chosen);
void AddWorkers(CLI::App& app, Action& chosen);
void AddWorkerScheduling(CLI::App& app, Action& chosen);  // cordon, drain, uncordon

// The options of all commands.
void AddGlobalOptions(CLI::App& app, GlobalOptions& options);

// `status` for people, with a way out; several lines without a break at the end.
std::string DescribeError(const absl::Status& status);

}  // namespace longlora::client

#endif  // LONGLORA_CLIENT_CLI_COMMAND_H_
