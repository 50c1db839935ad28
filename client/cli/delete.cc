#include <CLI/CLI.hpp>
#include <memory>
#include <string>

#include "client/cli/command.h"
#include "client/cli/help_text.h"
#include "client/cli/name_argument.h"
#include "client/resource_name.h"
#include "common/status/status_macros.h"

namespace longlora::client {
namespace {

struct DeleteArguments {
  std::string name;
  bool force = false;
};

absl::StatusOr<int> RunDelete(Environment& environment, const DeleteArguments& arguments) {
  LONGLORA_ASSIGN_OR_RETURN(const std::string name, JobName(arguments.name));
  LONGLORA_ASSIGN_OR_RETURN(const std::unique_ptr<FineTuneClient> client, environment.Connect());
  LONGLORA_RETURN_IF_ERROR(client->DeleteJob(name, arguments.force));
  environment.console.Note(absl::StrCat("Deleted ", name));
  return kExitDone;
}

}  // namespace

void AddDelete(CLI::App& app, Action& chosen) {
  CLI::App* command = app.add_subcommand("delete", "Removes a job that has ended");
  auto arguments = std::make_shared<DeleteArguments>();
  AddNameArgument(*command, arguments->name);
  command->add_flag("--force", arguments->force, "Also when it has checkpoints or results");
  command->footer(std::string("Removes the job with its events, checkpoints and results. Cannot be "
                              "undone. A job that still runs\n"
                              "must be cancelled first.\n\n"
                              "Examples:\n"
                              "  longlora delete books-a1b2c3\n"
                              "  longlora delete books-a1b2c3 --force\n\n") +
                  kEverywhereHelp);
  command->callback([&chosen, arguments] {
    chosen = [arguments](Environment& environment) { return RunDelete(environment, *arguments); };
  });
}

}  // namespace longlora::client
