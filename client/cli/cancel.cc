#include <CLI/CLI.hpp>
#include <memory>
#include <string>

#include "client/cli/command.h"
#include "client/cli/follow.h"
#include "client/cli/help_text.h"
#include "client/cli/json_output.h"
#include "client/cli/name_argument.h"
#include "client/resource_name.h"
#include "common/status/status_macros.h"

namespace longlora::client {
namespace {

struct CancelArguments {
  std::string name;
  bool wait = false;
  WatchOptions options;
};

absl::StatusOr<int> WaitUntilGone(Environment& environment, FineTuneClient& client,
                                  const v1::FineTuneJob& job, WatchOptions options) {
  // What happened before the cancellation is no news.
  options.after_sequence = job.last_event_sequence();
  const absl::StatusOr<v1::FineTuneJob> ended = FollowJob(environment, client, job.name(), options);
  if (!ended.ok()) return FollowExitCode(environment, job.name(), ended);
  if (ended->state() == v1::FineTuneJob::CANCELLED) return kExitDone;
  environment.console.Error(absl::StrCat("the job ended before it was cancelled: ",
                                         v1::FineTuneJob::State_Name(ended->state())));
  return kExitJobFailed;
}

absl::StatusOr<int> RunCancel(Environment& environment, const CancelArguments& arguments) {
  LONGLORA_ASSIGN_OR_RETURN(const std::string name, JobName(arguments.name));
  LONGLORA_ASSIGN_OR_RETURN(const std::unique_ptr<FineTuneClient> client, environment.Connect());
  LONGLORA_ASSIGN_OR_RETURN(const v1::FineTuneJob job, client->CancelJob(name));
  if (arguments.wait && !IsFinal(job.state())) {
    return WaitUntilGone(environment, *client, job, arguments.options);
  }
  const std::string state = v1::FineTuneJob::State_Name(job.state());
  environment.console.Print(environment.json() ? JsonDocument(job) : absl::StrCat(state, "\n"));
  if (!IsFinal(job.state())) {
    environment.console.Note(
        absl::StrCat("Its processes are being ended. Next: longlora watch ", ShortName(name)));
  }
  return kExitDone;
}

}  // namespace

void AddCancel(CLI::App& app, Action& chosen) {
  CLI::App* command = app.add_subcommand("cancel", "Asks that a job ends");
  auto arguments = std::make_shared<CancelArguments>();
  AddNameArgument(*command, arguments->name);
  command->add_flag("--wait", arguments->wait, "Return when no process of the job is left");
  AddReconnectOption(*command, arguments->options);
  command->footer(std::string("Checkpoints that are stored stay, until the job is deleted. Prints "
                              "the state: CANCELLING, or\n"
                              "CANCELLED when nothing was running. With --wait the exit code is 0 "
                              "when the job is CANCELLED and 1\n"
                              "when it ended otherwise before that.\n\n"
                              "Examples:\n"
                              "  longlora cancel books-a1b2c3 --wait\n\n") +
                  kEverywhereHelp);
  command->callback([&chosen, arguments] {
    chosen = [arguments](Environment& environment) { return RunCancel(environment, *arguments); };
  });
}

}  // namespace longlora::client
