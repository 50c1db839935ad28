#include <CLI/CLI.hpp>
#include <memory>
#include <string>

#include "client/cli/command.h"
#include "client/cli/follow.h"
#include "client/cli/help_text.h"
#include "client/cli/name_argument.h"
#include "client/resource_name.h"
#include "common/status/status_macros.h"

namespace longlora::client {
namespace {

struct WatchArguments {
  std::string name;
  WatchOptions options;
};

absl::StatusOr<int> RunWatch(Environment& environment, const WatchArguments& arguments) {
  LONGLORA_ASSIGN_OR_RETURN(const std::string name, JobName(arguments.name));
  LONGLORA_ASSIGN_OR_RETURN(const std::unique_ptr<FineTuneClient> client, environment.Connect());
  return FollowExitCode(environment, name,
                        FollowJob(environment, *client, name, arguments.options));
}

}  // namespace

void AddWatch(CLI::App& app, Action& chosen) {
  CLI::App* command = app.add_subcommand("watch", "Follows a job until it ends");
  auto arguments = std::make_shared<WatchArguments>();
  AddNameArgument(*command, arguments->name);
  command
      ->add_option("--after-sequence", arguments->options.after_sequence,
                   "Leave out the events up to this one; 0: none")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  AddReconnectOption(*command, arguments->options);
  command->footer(std::string("On a terminal: a bar with step, loss, time left, speed and "
                              "validation perplexity. Elsewhere:\n"
                              "plain lines, at most about a hundred for the steps. With --output "
                              "json: one event a line (JobEvent),\n"
                              "and the job (FineTuneJob) as the last line.\n\n"
                              "Ctrl-C detaches; the job goes on. While the server is away the job "
                              "goes on too: watch reconnects\n"
                              "and misses no event. The exit code is 0 when the job SUCCEEDED, 1 "
                              "when it FAILED or was CANCELLED.\n\n"
                              "Examples:\n"
                              "  longlora watch books-a1b2c3\n"
                              "  longlora watch books-a1b2c3 --output json | jq -r 'select(.step) "
                              "| [.step.step, .step.loss] | @tsv'\n\n") +
                  kEverywhereHelp);
  command->callback([&chosen, arguments] {
    chosen = [arguments](Environment& environment) { return RunWatch(environment, *arguments); };
  });
}

}  // namespace longlora::client
