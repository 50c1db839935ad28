#include <CLI/CLI.hpp>
#include <memory>
#include <string>

#include "client/cli/command.h"
#include "client/cli/follow.h"
#include "client/cli/format.h"
#include "client/cli/help_text.h"
#include "client/cli/json_output.h"
#include "client/cli/progress.h"
#include "client/job_file.h"
#include "client/resource_name.h"
#include "common/ids/id_generator.h"
#include "common/status/annotate.h"
#include "common/status/status_macros.h"
#include "rpc/grpc_status.h"

namespace longlora::client {
namespace {

struct SubmitArguments {
  std::string file;
  std::string request_id;
  bool wait = false;
  bool validate_only = false;
  WatchOptions options;
};

// Brings the local dataset files to the server and names them in the spec by their digest.
absl::Status UploadDatasets(Environment& environment, FineTuneClient& client, JobFile& file) {
  for (const LocalDataset& dataset : file.datasets) {
    const std::string& path = dataset.file.path;
    const absl::StatusOr<UploadResult> upload =
        UploadFile(client, dataset.file, [&](const LocalFile&, int64_t sent) {
          environment.console.Transient(absl::StrCat("Uploading ", Printable(path), "  ",
                                                     FormatBytes(sent), " of ",
                                                     FormatBytes(dataset.file.size_bytes)));
        });
    environment.console.Transient("");
    LONGLORA_RETURN_IF_ERROR(upload.status());
    environment.console.Note(
        upload->sent_bytes > 0
            ? absl::StrCat("Uploaded ", path, " (", FormatBytes(upload->sent_bytes), ")")
            : absl::StrCat("Stored already: ", path));
    ReplaceDataset(file.spec, dataset.field, upload->name);
  }
  return absl::OkStatus();
}

// The server's findings with the lines of the job file; and what to do when nobody knows whether
// the job was made.
absl::Status ExplainCreate(const absl::Status& status, const JobFile& file,
                           const std::string& request_id) {
  if (status.ok()) return status;
  const std::vector<common::SpecViolation> violations = rpc::GetErrorDetails(status).violations;
  if (!violations.empty()) return absl::Status(status.code(), FormatViolations(file, violations));
  if (absl::IsUnavailable(status) || absl::IsDeadlineExceeded(status)) {
    return absl::Status(status.code(),
                        absl::StrCat(status.message(),
                                     "\nWhether the job was made is not known. The same "
                                     "command with --request-id ",
                                     request_id, " makes it at most once."));
  }
  return common::Annotate(status, file.label);
}

absl::StatusOr<v1::FineTuneJob> CreateJob(Environment& environment, FineTuneClient& client,
                                          const SubmitArguments& arguments) {
  LONGLORA_ASSIGN_OR_RETURN(JobFile file, ReadJobFile(arguments.file));
  LONGLORA_RETURN_IF_ERROR(UploadDatasets(environment, client, file));
  v1::CreateFineTuneJobRequest request;
  *request.mutable_spec() = file.spec;
  request.set_validate_only(arguments.validate_only);
  // Made here, once a wish: every retry below carries the same one.
  request.set_request_id(arguments.request_id.empty() ? common::IdGenerator::Real().Uuid()
                                                      : arguments.request_id);
  absl::StatusOr<v1::FineTuneJob> job = client.CreateJob(request);
  if (!job.ok()) return ExplainCreate(job.status(), file, request.request_id());
  return job;
}

void ShowCreated(Environment& environment, const v1::FineTuneJob& job, bool wait) {
  if (environment.json()) {
    // With --wait the output is one object a line, ended by the final job.
    if (!wait) environment.console.Print(JsonDocument(job));
    return;
  }
  environment.console.Print(absl::StrCat(job.name(), "\n"));
  if (wait) return;
  const absl::string_view id = ShortName(job.name());
  const std::string waits = DescribeWait(job.schedule_reason());
  environment.console.Note(absl::StrCat(v1::FineTuneJob::State_Name(job.state()),
                                        waits.empty() ? "" : absl::StrCat(": ", Printable(waits)),
                                        "\nNext: longlora watch ", id));
}

absl::StatusOr<int> RunSubmit(Environment& environment, const SubmitArguments& arguments) {
  LONGLORA_ASSIGN_OR_RETURN(const std::unique_ptr<FineTuneClient> client, environment.Connect());
  LONGLORA_ASSIGN_OR_RETURN(const v1::FineTuneJob job, CreateJob(environment, *client, arguments));
  if (arguments.validate_only) {
    if (environment.json()) environment.console.Print(JsonDocument(job));
    environment.console.Note("The spec is valid. Nothing was submitted.");
    return kExitDone;
  }
  ShowCreated(environment, job, arguments.wait);
  if (!arguments.wait) return kExitDone;
  return FollowExitCode(environment, job.name(),
                        FollowJob(environment, *client, job.name(), arguments.options));
}

}  // namespace

void AddSubmit(CLI::App& app, Action& chosen) {
  CLI::App* command = app.add_subcommand("submit", "Submits a fine-tuning job");
  auto arguments = std::make_shared<SubmitArguments>();
  command->add_option("-f,--file", arguments->file, "Job file, YAML or JSON; - is standard input")
      ->required()
      ->type_name("FILE");
  command->add_flag("--wait", arguments->wait,
                    "Follow the job until it ends, as `longlora watch` does");
  command->add_flag(
      "--validate-only,--dry-run", arguments->validate_only,
      "Check everything, submit nothing; dataset files are uploaded, since the server "
      "checks their content");
  command
      ->add_option(
          "--request-id", arguments->request_id,
          "A UUID of this wish: repeating the command with it makes no second job [random]")
      ->type_name("UUID");
  AddReconnectOption(*command, arguments->options);
  command->footer(std::string("A small job file:\n"
                              "  display_name: books\n"
                              "  base_model: smollm2-135m\n"
                              "  dataset: {training: books.jsonl, validation: held-out.jsonl}\n"
                              "  max_sequence_length: 16384\n"
                              "  training: {max_steps: 1000, gradient_accumulation_steps: 8}\n"
                              "  resources: {device: cuda, devices_per_node: 8}\n\n"
                              "Dataset paths are local, relative to the job file; each file is "
                              "uploaded once, by its SHA-256.\n"
                              "What is wrong with the job is shown all at once, with line and "
                              "field. Prints the job's name.\n\n"
                              "With --wait the exit code is 0 when the job SUCCEEDED, 1 when it "
                              "FAILED or was CANCELLED; Ctrl-C\n"
                              "detaches and the job goes on.\n\n"
                              "Examples:\n"
                              "  longlora submit -f job.yaml\n"
                              "  longlora submit -f job.yaml --wait\n"
                              "  JOB=$(longlora submit -f job.yaml --quiet)\n\n") +
                  kEverywhereHelp);
  command->callback([&chosen, arguments] {
    chosen = [arguments](Environment& environment) { return RunSubmit(environment, *arguments); };
  });
}

}  // namespace longlora::client
