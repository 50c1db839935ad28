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

absl::StatusOr<int> RunGet(Environment& environment, const std::string& text) {
  LONGLORA_ASSIGN_OR_RETURN(const std::string name, JobName(text));
  LONGLORA_ASSIGN_OR_RETURN(const std::unique_ptr<FineTuneClient> client, environment.Connect());
  LONGLORA_ASSIGN_OR_RETURN(const v1::FineTuneJob job, client->GetJob(name));
  environment.console.Print(
      environment.json() ? JsonDocument(job) : RenderJob(job, absl::Now(), absl::LocalTimeZone()));
  return kExitDone;
}

}  // namespace

void AddGet(CLI::App& app, Action& chosen) {
  CLI::App* command = app.add_subcommand("get", "Shows a job: state, progress, attempts, spec");
  auto name = std::make_shared<std::string>();
  AddNameArgument(*command, *name);
  command->footer(
      std::string("Says why a job waits and how many are before it, what became of each attempt, "
                  "and for every\n"
                  "failure its reason, whose fault it is and whether it was tried again.\n\n"
                  "Examples:\n"
                  "  longlora get books-a1b2c3\n"
                  "  longlora get books-a1b2c3 --output json | jq .progress.loss\n\n") +
      kEverywhereHelp);
  command->callback([&chosen, name] {
    chosen = [name](Environment& environment) { return RunGet(environment, *name); };
  });
}

}  // namespace longlora::client
