#include <CLI/CLI.hpp>
#include <memory>
#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/str_join.h"
#include "client/cli/command.h"
#include "client/cli/help_text.h"
#include "client/cli/json_output.h"
#include "client/cli/views.h"
#include "common/status/status_macros.h"

namespace longlora::client {
namespace {

struct ListOptions {
  std::vector<std::string> states;
  int64_t limit = 0;
};

absl::StatusOr<std::vector<v1::FineTuneJob::State>> ParseStates(
    const std::vector<std::string>& names) {
  std::vector<v1::FineTuneJob::State> states;
  for (const std::string& name : names) {
    v1::FineTuneJob::State state;
    if (!v1::FineTuneJob::State_Parse(absl::AsciiStrToUpper(name), &state) ||
        state == v1::FineTuneJob::STATE_UNSPECIFIED) {
      return absl::InvalidArgumentError(
          absl::StrCat("--state ", name,
                       " is none of QUEUED, PREPARING, RUNNING, PAUSING, PAUSED, CANCELLING, "
                       "SUCCEEDED, FAILED, CANCELLED"));
    }
    states.push_back(state);
  }
  return states;
}

absl::StatusOr<int> RunList(Environment& environment, const ListOptions& options) {
  LONGLORA_ASSIGN_OR_RETURN(const std::vector<v1::FineTuneJob::State> states,
                            ParseStates(options.states));
  LONGLORA_ASSIGN_OR_RETURN(const std::unique_ptr<FineTuneClient> client, environment.Connect());
  LONGLORA_ASSIGN_OR_RETURN(const std::vector<v1::FineTuneJob> jobs,
                            client->ListJobs(states, options.limit));
  if (environment.json()) {
    v1::ListFineTuneJobsResponse all;
    all.mutable_jobs()->Add(jobs.begin(), jobs.end());
    environment.console.Print(JsonDocument(all));
    return kExitDone;
  }
  environment.console.Print(RenderJobs(jobs, absl::Now()));
  if (jobs.empty()) environment.console.Note("No job here. Next: longlora submit -f job.yaml");
  return kExitDone;
}

}  // namespace

void AddList(CLI::App& app, Action& chosen) {
  CLI::App* command = app.add_subcommand("list", "Lists jobs, newest first");
  auto options = std::make_shared<ListOptions>();
  command
      ->add_option("--state", options->states,
                   "Only jobs in this state; may be repeated or joined by commas")
      ->delimiter(',')
      ->allow_extra_args(false);
  command->add_option("--limit", options->limit, "At most so many; 0: all")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  command->footer(
      std::string("The last column says why a job waits and how many are placed before it.\n\n"
                  "Examples:\n"
                  "  longlora list\n"
                  "  longlora list --state running,queued --limit 20\n"
                  "  longlora list --output json | jq -r '.jobs[].name'\n\n") +
      kEverywhereHelp);
  command->callback([&chosen, options] {
    chosen = [options](Environment& environment) { return RunList(environment, *options); };
  });
}

}  // namespace longlora::client
