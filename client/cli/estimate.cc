#include <CLI/CLI.hpp>
#include <memory>
#include <string>

#include "client/cli/command.h"
#include "client/cli/help_text.h"
#include "client/cli/json_output.h"
#include "client/cli/views.h"
#include "client/job_file.h"
#include "common/base_model/model_config.h"
#include "common/memory/memory_estimate.h"
#include "common/status/annotate.h"
#include "common/status/status_macros.h"
#include "rpc/estimate_message.h"
#include "rpc/grpc_status.h"
#include "rpc/spec_json.h"

namespace longlora::client {
namespace {

struct EstimateArguments {
  std::string file;
  std::string model;  // a directory; empty: the server knows the model
};

absl::StatusOr<v1::EstimateFineTuneJobResponse> AskServer(Environment& environment,
                                                          const JobFile& file) {
  LONGLORA_ASSIGN_OR_RETURN(const std::unique_ptr<FineTuneClient> client, environment.Connect());
  v1::EstimateFineTuneJobRequest request;
  *request.mutable_spec() = file.spec;
  absl::StatusOr<v1::EstimateFineTuneJobResponse> response = client->EstimateJob(request);
  if (response.ok()) return response;
  const std::vector<common::SpecViolation> violations =
      rpc::GetErrorDetails(response.status()).violations;
  if (violations.empty()) return common::Annotate(response.status(), file.label);
  return absl::Status(response.status().code(), FormatViolations(file, violations));
}

absl::StatusOr<v1::EstimateFineTuneJobResponse> EstimateHere(const std::string& model,
                                                             const JobFile& file) {
  LONGLORA_ASSIGN_OR_RETURN(const common::TrainSpec spec, rpc::ToTrainSpec(file.spec));
  const absl::StatusOr<common::ModelConfig> config = common::ReadModelConfig(model);
  if (!config.ok()) return common::Annotate(config.status(), "--model");
  const absl::StatusOr<common::MemoryEstimate> estimate = common::EstimateMemory(spec, *config);
  if (!estimate.ok()) return common::Annotate(estimate.status(), file.label);
  return rpc::ToMessage(*estimate, spec);
}

absl::StatusOr<int> RunEstimate(Environment& environment, const EstimateArguments& arguments) {
  LONGLORA_ASSIGN_OR_RETURN(const JobFile file, ReadJobFile(arguments.file, DatasetUse::kIgnore));
  LONGLORA_ASSIGN_OR_RETURN(
      const v1::EstimateFineTuneJobResponse estimate,
      arguments.model.empty() ? AskServer(environment, file) : EstimateHere(arguments.model, file));
  environment.console.Print(environment.json() ? JsonDocument(estimate) : RenderEstimate(estimate));
  return kExitDone;
}

}  // namespace

void AddEstimate(CLI::App& app, Action& chosen) {
  CLI::App* command =
      app.add_subcommand("estimate", "Tells what memory a job will take, without running it");
  auto arguments = std::make_shared<EstimateArguments>();
  command->add_option("-f,--file", arguments->file, "Job file, YAML or JSON; - is standard input")
      ->required()
      ->type_name("FILE");
  command
      ->add_option("--model", arguments->model,
                   "Directory with the base model's config.json, instead of asking the server")
      ->type_name("DIR");
  command->footer(
      std::string("Nothing is uploaded or submitted; the datasets need not exist. The "
                  "sum is the peak of one rank:\n"
                  "on a CPU the resident memory of its process, on a GPU the tensors on "
                  "the device.\n\n"
                  "Examples:\n"
                  "  longlora estimate -f job.yaml\n"
                  "  longlora estimate -f job.yaml --model models/smollm2-135m\n\n") +
      kEverywhereHelp);
  command->callback([&chosen, arguments] {
    chosen = [arguments](Environment& environment) { return RunEstimate(environment, *arguments); };
  });
}

}  // namespace longlora::client
