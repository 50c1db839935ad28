#include <CLI/CLI.hpp>
#include <memory>
#include <string>

#include "client/cli/command.h"
#include "client/cli/help_text.h"
#include "client/cli/json_output.h"
#include "client/cli/views.h"
#include "common/status/status_macros.h"

namespace longlora::client {
namespace {

absl::StatusOr<int> RunWorkers(Environment& environment) {
  LONGLORA_ASSIGN_OR_RETURN(const std::unique_ptr<FineTuneClient> client, environment.Connect());
  LONGLORA_ASSIGN_OR_RETURN(const v1::ListWorkersResponse workers, client->ListWorkers());
  environment.console.Print(environment.json() ? JsonDocument(workers)
                                               : RenderWorkers(workers, absl::Now()));
  if (workers.workers_size() == 0 && !environment.json()) {
    environment.console.Note("No worker has come yet: start longlora-worker --server " +
                             environment.options.server);
  }
  return kExitDone;
}

}  // namespace

void AddWorkers(CLI::App& app, Action& chosen) {
  CLI::App* command = app.add_subcommand("workers", "Lists the workers, their devices and models");
  command->footer(std::string("A worker is LOST when it has not been heard of for the length of "
                              "its lease, and UNKNOWN at a\n"
                              "server's --read-listen address, which hears from none. The models "
                              "are the names that base_model\n"
                              "may have.\n\n"
                              "Examples:\n"
                              "  longlora workers\n\n") +
                  kEverywhereHelp);
  command->callback([&chosen] { chosen = RunWorkers; });
}

}  // namespace longlora::client
