// The three subcommands that say whether a worker gets jobs: cordon, drain, uncordon.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "client/cli/command.h"
#include "client/cli/help_text.h"
#include "client/cli/interrupt.h"
#include "client/cli/json_output.h"
#include "client/resource_name.h"
#include "common/status/status_macros.h"

namespace longlora::client {
namespace {

constexpr absl::Duration kLookInterval = absl::Seconds(1);

struct SchedulingArguments {
  std::string name;
  bool wait = false;
};

int64_t JobCount(const v1::Worker& worker) {
  return std::count_if(worker.devices().begin(), worker.devices().end(),
                       [](const v1::Device& device) { return !device.job().empty(); });
}

// The worker once no device of it has a job, or it is no longer being drained.
absl::StatusOr<v1::Worker> WaitUntilEmpty(Environment& environment, FineTuneClient& client,
                                          v1::Worker worker) {
  const Interrupt interrupt(environment.cancellation);
  while (JobCount(worker) > 0 && worker.scheduling() == v1::Worker::DRAINING) {
    if (!environment.cancellation.Sleep(kLookInterval)) {
      return absl::CancelledError("interrupted; the worker goes on draining");
    }
    LONGLORA_ASSIGN_OR_RETURN(const v1::ListWorkersResponse workers, client.ListWorkers());
    const auto found =
        std::find_if(workers.workers().begin(), workers.workers().end(),
                     [&](const v1::Worker& other) { return other.name() == worker.name(); });
    if (found == workers.workers().end()) break;
    worker = *found;
  }
  return worker;
}

absl::StatusOr<int> RunScheduling(Environment& environment, v1::Worker::Scheduling scheduling,
                                  const SchedulingArguments& arguments) {
  LONGLORA_ASSIGN_OR_RETURN(const std::string name, WorkerName(arguments.name));
  LONGLORA_ASSIGN_OR_RETURN(const std::unique_ptr<FineTuneClient> client, environment.Connect());
  LONGLORA_ASSIGN_OR_RETURN(v1::Worker worker, client->SetScheduling(name, scheduling));
  if (arguments.wait) {
    LONGLORA_ASSIGN_OR_RETURN(worker, WaitUntilEmpty(environment, *client, std::move(worker)));
  }
  const std::string state = v1::Worker::Scheduling_Name(worker.scheduling());
  environment.console.Print(environment.json() ? JsonDocument(worker) : absl::StrCat(state, "\n"));
  if (const int64_t jobs = JobCount(worker); jobs > 0 && scheduling != v1::Worker::OPEN) {
    environment.console.Note(absl::StrCat(
        jobs, jobs == 1 ? " device still has a job" : " devices still have jobs",
        scheduling == v1::Worker::DRAINING ? ", which makes a checkpoint and goes on elsewhere."
                                           : ", which goes on."));
  }
  return kExitDone;
}

CLI::App* AddScheduling(CLI::App& app, Action& chosen, const std::string& command_name,
                        const std::string& what, v1::Worker::Scheduling scheduling,
                        const std::shared_ptr<SchedulingArguments>& arguments) {
  CLI::App* command = app.add_subcommand(command_name, what);
  command->add_option("WORKER", arguments->name, "The worker: ID or workers/ID")->required();
  command->footer(kEverywhereHelp);
  command->callback([&chosen, arguments, scheduling] {
    chosen = [arguments, scheduling](Environment& environment) {
      return RunScheduling(environment, scheduling, *arguments);
    };
  });
  return command;
}

}  // namespace

void AddWorkerScheduling(CLI::App& app, Action& chosen) {
  const auto arguments = std::make_shared<SchedulingArguments>();
  AddScheduling(app, chosen, "cordon", "Gives a worker no new jobs", v1::Worker::CORDONED,
                arguments);
  CLI::App* drain = AddScheduling(
      app, chosen, "drain", "Empties a worker: its jobs make a checkpoint and go on elsewhere",
      v1::Worker::DRAINING, arguments);
  drain->add_flag("--wait", arguments->wait, "Return when no device of it has a job");
  AddScheduling(app, chosen, "uncordon", "Gives a worker jobs again", v1::Worker::OPEN, arguments);
}

}  // namespace longlora::client
