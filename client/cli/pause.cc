#include <CLI/CLI.hpp>
#include <memory>
#include <string>

#include "client/cli/command.h"
#include "client/cli/help_text.h"
#include "client/cli/interrupt.h"
#include "client/cli/json_output.h"
#include "client/cli/name_argument.h"
#include "client/resource_name.h"
#include "common/status/status_macros.h"

namespace longlora::client {
namespace {

constexpr absl::Duration kLookInterval = absl::Seconds(1);

struct PauseArguments {
  std::string name;
  bool wait = false;
};

// The job once it is no longer PAUSING.
absl::StatusOr<v1::FineTuneJob> WaitUntilPaused(Environment& environment, FineTuneClient& client,
                                                v1::FineTuneJob job) {
  const Interrupt interrupt(environment.cancellation);
  while (job.state() == v1::FineTuneJob::PAUSING) {
    if (!environment.cancellation.Sleep(kLookInterval)) {
      return absl::CancelledError("interrupted; the job goes on pausing");
    }
    LONGLORA_ASSIGN_OR_RETURN(job, client.GetJob(job.name()));
  }
  return job;
}

absl::StatusOr<int> RunPause(Environment& environment, const PauseArguments& arguments) {
  LONGLORA_ASSIGN_OR_RETURN(const std::string name, JobName(arguments.name));
  LONGLORA_ASSIGN_OR_RETURN(const std::unique_ptr<FineTuneClient> client, environment.Connect());
  LONGLORA_ASSIGN_OR_RETURN(v1::FineTuneJob job, client->PauseJob(name));
  if (arguments.wait) {
    LONGLORA_ASSIGN_OR_RETURN(job, WaitUntilPaused(environment, *client, std::move(job)));
  }
  const std::string state = v1::FineTuneJob::State_Name(job.state());
  environment.console.Print(environment.json() ? JsonDocument(job) : absl::StrCat(state, "\n"));
  if (job.state() == v1::FineTuneJob::PAUSING) {
    environment.console.Note("It makes a checkpoint and gives its devices back.");
  }
  if (job.state() == v1::FineTuneJob::PAUSING || job.state() == v1::FineTuneJob::PAUSED) {
    environment.console.Note(absl::StrCat("To go on: longlora resume ", ShortName(name)));
    return kExitDone;
  }
  environment.console.Error(absl::StrCat("the job ended before it was paused: ", state));
  return ExitCodeOf(job.state());
}

}  // namespace

void AddPause(CLI::App& app, Action& chosen) {
  CLI::App* command = app.add_subcommand("pause", "Takes a job off its devices, to go on later");
  auto arguments = std::make_shared<PauseArguments>();
  AddNameArgument(*command, arguments->name);
  command->add_flag("--wait", arguments->wait, "Return when the job is PAUSED");
  command->footer(std::string("A running job finishes its step, makes a checkpoint and gives its "
                              "devices back; resumed, it goes on\n"
                              "from there to the same weights as if nothing had been. Prints the "
                              "state: PAUSING, or PAUSED when\n"
                              "nothing was running. A paused job waits until it is resumed or "
                              "cancelled.\n\n"
                              "Examples:\n"
                              "  longlora pause books-a1b2c3 --wait\n"
                              "  longlora resume books-a1b2c3\n\n") +
                  kEverywhereHelp);
  command->callback([&chosen, arguments] {
    chosen = [arguments](Environment& environment) { return RunPause(environment, *arguments); };
  });
}

}  // namespace longlora::client
