#include <CLI/CLI.hpp>
#include <memory>
#include <string>

#include "client/cli/command.h"
#include "client/cli/help_text.h"
#include "client/cli/json_output.h"
#include "client/cli/name_argument.h"
#include "client/cli/views.h"
#include "client/resource_name.h"
#include "common/status/status_macros.h"

namespace longlora::client {
namespace {

absl::StatusOr<int> RunCheckpoints(Environment& environment, const std::string& text) {
  LONGLORA_ASSIGN_OR_RETURN(const std::string name, JobName(text));
  LONGLORA_ASSIGN_OR_RETURN(const std::unique_ptr<FineTuneClient> client, environment.Connect());
  LONGLORA_ASSIGN_OR_RETURN(const v1::ListCheckpointsResponse checkpoints,
                            client->ListCheckpoints(name));
  if (environment.json()) {
    environment.console.Print(JsonDocument(checkpoints));
    return kExitDone;
  }
  environment.console.Print(RenderCheckpoints(checkpoints, absl::Now()));
  if (checkpoints.checkpoints_size() == 0) {
    environment.console.Note(
        "None is stored. checkpoint.interval_steps of the job file makes them.");
  } else {
    const absl::string_view id = ShortName(name);
    environment.console.Note(absl::StrCat("Next: longlora download ", id, " --checkpoint ",
                                          checkpoints.checkpoints().rbegin()->step(), " --to ",
                                          id));
  }
  return kExitDone;
}

}  // namespace

void AddCheckpoints(CLI::App& app, Action& chosen) {
  CLI::App* command = app.add_subcommand("checkpoints", "Lists the stored checkpoints of a job");
  auto name = std::make_shared<std::string>();
  AddNameArgument(*command, *name);
  command->footer(
      std::string("Oldest first. The step is what `longlora download --checkpoint` takes.\n\n"
                  "Examples:\n"
                  "  longlora checkpoints books-a1b2c3\n\n") +
      kEverywhereHelp);
  command->callback([&chosen, name] {
    chosen = [name](Environment& environment) { return RunCheckpoints(environment, *name); };
  });
}

}  // namespace longlora::client
