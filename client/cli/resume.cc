#include <CLI/CLI.hpp>
#include <memory>
#include <string>

#include "client/cli/command.h"
#include "client/cli/help_text.h"
#include "client/cli/json_output.h"
#include "client/cli/name_argument.h"
#include "client/resource_name.h"
#include "common/status/status_macros.h"

namespace longlora::client {
namespace {

absl::StatusOr<int> RunResume(Environment& environment, const std::string& argument) {
  LONGLORA_ASSIGN_OR_RETURN(const std::string name, JobName(argument));
  LONGLORA_ASSIGN_OR_RETURN(const std::unique_ptr<FineTuneClient> client, environment.Connect());
  LONGLORA_ASSIGN_OR_RETURN(const v1::FineTuneJob job, client->ResumeJob(name));
  const std::string state = v1::FineTuneJob::State_Name(job.state());
  environment.console.Print(environment.json() ? JsonDocument(job) : absl::StrCat(state, "\n"));
  environment.console.Note(absl::StrCat("Next: longlora watch ", ShortName(name)));
  return kExitDone;
}

}  // namespace

void AddResume(CLI::App& app, Action& chosen) {
  CLI::App* command = app.add_subcommand("resume", "Lets a paused job go on");
  auto name = std::make_shared<std::string>();
  AddNameArgument(*command, *name);
  command->footer(std::string("The job is QUEUED again, at the place that its creation gives it, "
                              "and goes on from its newest\n"
                              "checkpoint. A job that is not paused stays as it is.\n\n"
                              "Examples:\n"
                              "  longlora resume books-a1b2c3\n\n") +
                  kEverywhereHelp);
  command->callback([&chosen, name] {
    chosen = [name](Environment& environment) { return RunResume(environment, *name); };
  });
}

}  // namespace longlora::client
