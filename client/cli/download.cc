#include "client/download.h"

#include <CLI/CLI.hpp>
#include <memory>
#include <string>

#include "absl/strings/str_join.h"
#include "client/cli/command.h"
#include "client/cli/format.h"
#include "client/cli/help_text.h"
#include "client/cli/json_output.h"
#include "client/cli/name_argument.h"
#include "client/resource_name.h"
#include "client/watch.h"
#include "common/status/annotate.h"
#include "common/status/status_macros.h"

namespace longlora::client {
namespace {

struct DownloadArguments {
  std::string name;
  std::string directory;
  int64_t checkpoint = -1;  // step; -1: the results
};

absl::StatusOr<std::vector<v1::Artifact>> FindResults(FineTuneClient& client,
                                                      const std::string& name) {
  LONGLORA_ASSIGN_OR_RETURN(const v1::ListArtifactsResponse results, client.ListArtifacts(name));
  if (results.artifacts_size() > 0) {
    return std::vector<v1::Artifact>(results.artifacts().begin(), results.artifacts().end());
  }
  LONGLORA_ASSIGN_OR_RETURN(const v1::FineTuneJob job, client.GetJob(name));
  const absl::string_view id = ShortName(name);
  return absl::FailedPreconditionError(absl::StrCat(
      name, " is ", v1::FineTuneJob::State_Name(job.state()), " and has no results",
      IsFinal(job.state()) ? "; "
                           : absl::StrCat(" yet: `longlora watch ", id, "` waits for them; "),
      "`longlora checkpoints ", id, "` shows what else can be downloaded"));
}

absl::StatusOr<std::vector<v1::Artifact>> FindCheckpoint(FineTuneClient& client,
                                                         const std::string& name, int64_t step) {
  LONGLORA_ASSIGN_OR_RETURN(const v1::ListCheckpointsResponse all, client.ListCheckpoints(name));
  std::vector<std::string> steps;
  for (const v1::Checkpoint& checkpoint : all.checkpoints()) {
    if (checkpoint.step() == step) {
      return std::vector<v1::Artifact>(checkpoint.artifacts().begin(),
                                       checkpoint.artifacts().end());
    }
    steps.push_back(absl::StrCat(checkpoint.step()));
  }
  return absl::NotFoundError(absl::StrCat(name, " has no checkpoint of step ", step,
                                          "; stored are those of ",
                                          steps.empty() ? "no step" : absl::StrJoin(steps, ", "),
                                          ". Old ones go by checkpoint.keep_last"));
}

void PrintFiles(Environment& environment, const std::string& directory,
                const std::vector<v1::Artifact>& artifacts) {
  if (environment.json()) {
    v1::ListArtifactsResponse list;
    list.mutable_artifacts()->Add(artifacts.begin(), artifacts.end());
    return environment.console.Print(JsonDocument(list));
  }
  for (const v1::Artifact& artifact : artifacts) {
    environment.console.Print(absl::StrCat(directory, "/", artifact.path(), "\n"));
  }
}

absl::StatusOr<int> RunDownload(Environment& environment, const DownloadArguments& arguments) {
  LONGLORA_ASSIGN_OR_RETURN(const std::string name, JobName(arguments.name));
  LONGLORA_ASSIGN_OR_RETURN(const std::unique_ptr<FineTuneClient> client, environment.Connect());
  LONGLORA_ASSIGN_OR_RETURN(const std::vector<v1::Artifact> artifacts,
                            arguments.checkpoint >= 0
                                ? FindCheckpoint(*client, name, arguments.checkpoint)
                                : FindResults(*client, name));
  const absl::StatusOr<DownloadSummary> summary =
      Download(*client, name, artifacts, arguments.directory,
               [&](const v1::Artifact& artifact, int64_t received) {
                 environment.console.Transient(absl::StrCat(Printable(artifact.path()), "  ",
                                                            FormatBytes(received), " of ",
                                                            FormatBytes(artifact.size_bytes())));
               });
  environment.console.Transient("");
  if (absl::IsUnavailable(summary.status())) {
    return common::Annotate(summary.status(),
                            "the same command goes on where this download stopped");
  }
  LONGLORA_RETURN_IF_ERROR(summary.status());
  PrintFiles(environment, arguments.directory, artifacts);
  environment.console.Note(absl::StrCat(
      FormatInteger(summary->files), " files in ", arguments.directory,
      ", each of the announced SHA-256; ", FormatBytes(summary->received_bytes), " received",
      summary->files_present > 0 ? absl::StrCat(", ", summary->files_present, " were there already")
                                 : ""));
  if (arguments.checkpoint < 0) {
    environment.console.Note(
        absl::StrCat("Next, in Python: peft.PeftModel.from_pretrained(model, \"",
                     arguments.directory, "/adapter\")"));
  }
  return kExitDone;
}

}  // namespace

void AddDownload(CLI::App& app, Action& chosen) {
  CLI::App* command =
      app.add_subcommand("download", "Brings a job's results, or a checkpoint, here");
  auto arguments = std::make_shared<DownloadArguments>();
  AddNameArgument(*command, arguments->name);
  command->add_option("--to", arguments->directory, "Directory; created when it is missing")
      ->required()
      ->type_name("DIR");
  command
      ->add_option("--checkpoint", arguments->checkpoint,
                   "Step of a checkpoint to download instead of the results")
      ->check(CLI::NonNegativeNumber)
      ->type_name("STEP");
  command->footer(std::string("Writes DIR/adapter (PEFT's format) and, when the job asked for it, "
                              "DIR/merged; with --checkpoint\n"
                              "DIR/checkpoints/step-STEP. Every file is checked by its SHA-256 "
                              "before it gets its name. A download\n"
                              "that broke goes on where it stopped; files that are there already "
                              "are not fetched again. Prints the\n"
                              "files' paths.\n\n"
                              "Examples:\n"
                              "  longlora download books-a1b2c3 --to books\n"
                              "  longlora download books-a1b2c3 --checkpoint 100 --to books\n\n") +
                  kEverywhereHelp);
  command->callback([&chosen, arguments] {
    chosen = [arguments](Environment& environment) { return RunDownload(environment, *arguments); };
  });
}

}  // namespace longlora::client
