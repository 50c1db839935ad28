// longlora: the command line of the service. One file a subcommand; this one only chooses.
#include <CLI/CLI.hpp>

#include "client/cli/command.h"
#include "client/cli/help_text.h"

namespace longlora::client {
namespace {

int Main(int argc, char** argv) {
  CLI::App app("longlora: long-context LoRA fine-tuning as a service", "longlora");
  Environment environment;
  Action chosen;
  // Options of all commands may stand behind the subcommand too.
  app.fallthrough();
  app.require_subcommand(1);
  app.set_version_flag("--version", "longlora " LONGLORA_VERSION);
  app.set_config("--config", "",
                 "File with `option = value` lines for the options of all commands");
  app.footer(kExitCodesHelp);
  AddGlobalOptions(app, environment.options);
  for (const auto add :
       {AddSubmit, AddEstimate, AddGet, AddList, AddWatch, AddLogs, AddPause, AddResume, AddCancel,
        AddDelete, AddCheckpoints, AddDownload, AddQueue, AddWorkers, AddWorkerScheduling}) {
    add(app, chosen);
  }
  // CLI11 reports by exceptions, the wish for help included.
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? kExitDone : kExitUsage;
  }
  environment.console.set_quiet(environment.options.quiet);
  const absl::StatusOr<int> code = chosen(environment);
  if (!code.ok()) {
    environment.console.Error(DescribeError(code.status()));
    return ExitCodeOf(code.status());
  }
  if (!environment.console.Flush()) {
    environment.console.Error("cannot write to standard output");
    return kExitOther;
  }
  return *code;
}

}  // namespace
}  // namespace longlora::client

int main(int argc, char** argv) { return longlora::client::Main(argc, argv); }
