#include <CLI/CLI.hpp>
#include <memory>
#include <string>

#include "client/cli/command.h"
#include "client/cli/event_lines.h"
#include "client/cli/follow.h"
#include "client/cli/help_text.h"
#include "client/cli/interrupt.h"
#include "client/cli/json_output.h"
#include "client/cli/name_argument.h"
#include "client/resource_name.h"
#include "common/status/status_macros.h"

namespace longlora::client {
namespace {

struct LogsArguments {
  std::string name;
  bool follow = false;
  WatchOptions options;
};

// Shows what has text for people.
class LogPrinter : public WatchObserver {
 public:
  LogPrinter(Console& console, bool json) : console_(console), json_(json) {}

  void OnJob(const v1::FineTuneJob&) override {}
  void OnEvent(const v1::JobEvent& event) override {
    const std::optional<std::string> text = LogText(event, absl::LocalTimeZone());
    if (text.has_value()) console_.Print(json_ ? JsonLine(event) : absl::StrCat(*text, "\n"));
  }
  void OnDisconnected(const absl::Status& reason) override {
    console_.Note(absl::StrCat(reason.message(), "; the job goes on, reconnecting ..."));
  }
  void OnGap(int64_t first, int64_t last) override {
    console_.Error(absl::StrCat("the server lost the events ", first, " to ", last));
  }

 private:
  Console& console_;
  const bool json_;
};

absl::StatusOr<int> RunLogs(Environment& environment, const LogsArguments& arguments) {
  LONGLORA_ASSIGN_OR_RETURN(const std::string name, JobName(arguments.name));
  LONGLORA_ASSIGN_OR_RETURN(const std::unique_ptr<FineTuneClient> client, environment.Connect());
  LogPrinter printer(environment.console, environment.json());
  if (!arguments.follow) {
    LONGLORA_RETURN_IF_ERROR(
        client->ListEvents(name, [&](const v1::JobEvent& event) { printer.OnEvent(event); }));
    return kExitDone;
  }
  Interrupt interrupt(environment.cancellation);
  const absl::Status ended = WatchJob(*client, name, arguments.options, printer).status();
  // To stop reading is how one ends a log.
  if (const int signal = Interrupt::signal(); !ended.ok() && signal != 0)
    return kExitSignal + signal;
  LONGLORA_RETURN_IF_ERROR(ended);
  return kExitDone;
}

}  // namespace

void AddLogs(CLI::App& app, Action& chosen) {
  CLI::App* command = app.add_subcommand("logs", "Prints what a job's trainers wrote");
  auto arguments = std::make_shared<LogsArguments>();
  AddNameArgument(*command, arguments->name);
  command->add_flag("--follow", arguments->follow, "Go on until the job ends");
  AddReconnectOption(*command, arguments->options);
  command->footer(
      std::string("Prints the lines that the trainers wrote for people, with the rank that wrote "
                  "them, and the\n"
                  "job's warnings and errors. With --output json: one event (JobEvent) a line.\n\n"
                  "Examples:\n"
                  "  longlora logs books-a1b2c3\n"
                  "  longlora logs books-a1b2c3 --follow\n\n") +
      kEverywhereHelp);
  command->callback([&chosen, arguments] {
    chosen = [arguments](Environment& environment) { return RunLogs(environment, *arguments); };
  });
}

}  // namespace longlora::client
