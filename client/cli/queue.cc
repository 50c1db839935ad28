#include <CLI/CLI.hpp>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "client/cli/command.h"
#include "client/cli/help_text.h"
#include "client/cli/json_output.h"
#include "client/cli/views.h"
#include "client/resource_name.h"
#include "common/status/status_macros.h"

namespace longlora::client {
namespace {

struct QueueOptions {
  std::string name;
  int64_t limit = 50;
};

absl::StatusOr<int> RunQueue(Environment& environment, const QueueOptions& options) {
  std::string queue;
  if (!options.name.empty()) {
    LONGLORA_ASSIGN_OR_RETURN(queue, QueueName(options.name));
  }
  LONGLORA_ASSIGN_OR_RETURN(const std::unique_ptr<FineTuneClient> client, environment.Connect());
  LONGLORA_ASSIGN_OR_RETURN(const v1::ListQueuedJobsResponse jobs,
                            client->ListQueuedJobs(queue, options.limit));
  if (environment.json()) {
    environment.console.Print(JsonDocument(jobs));
    return kExitDone;
  }
  LONGLORA_ASSIGN_OR_RETURN(v1::ListQueuesResponse queues, client->ListQueues());
  if (!queue.empty()) {
    auto& list = *queues.mutable_queues();
    for (int i = list.size() - 1; i >= 0; --i) {
      if (list[i].name() != queue) list.DeleteSubrange(i, 1);
    }
  }
  environment.console.Print(RenderQueues(queues));
  if (jobs.jobs_size() == 0) {
    environment.console.Note("No job waits.");
    return kExitDone;
  }
  environment.console.Print(absl::StrCat("\n", RenderQueuedJobs(jobs, absl::Now())));
  if (!jobs.next_page_token().empty()) {
    environment.console.Note(
        absl::StrCat("More jobs wait: --limit ", 2 * options.limit, " shows more."));
  }
  return kExitDone;
}

}  // namespace

void AddQueue(CLI::App& app, Action& chosen) {
  CLI::App* command =
      app.add_subcommand("queue", "Shows the queues, and who waits in which place and why");
  auto options = std::make_shared<QueueOptions>();
  command->add_option("QUEUE", options->name, "Only this queue: NAME or queues/NAME");
  command->add_option("--limit", options->limit, "At most so many jobs")
      ->check(CLI::Range(int64_t{1}, int64_t{100'000}))
      ->capture_default_str();
  command->footer(
      std::string(
          "Jobs stand in the order in which they are placed. A queue's devices are those in use, "
          "those that it can\n"
          "always have (nominal) and those that it may borrow while others leave them unused. Of "
          "queues that want\n"
          "the same devices the one with the least weighted usage comes first. STARTS is told only "
          "where the\n"
          "remaining time of the jobs that run tells it.\n\n"
          "Examples:\n"
          "  longlora queue\n"
          "  longlora queue research --limit 10\n\n") +
      kEverywhereHelp);
  command->callback([&chosen, options] {
    chosen = [options](Environment& environment) { return RunQueue(environment, *options); };
  });
}

}  // namespace longlora::client
