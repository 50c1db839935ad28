#include "worker/trainer/training_job.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <system_error>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status/annotate.h"
#include "common/status/status_macros.h"
#include "worker/trainer/base_model.h"
#include "worker/trainer/distributed/c10d_process_group.h"
#include "worker/trainer/failure.h"

namespace longlora::trainer {
namespace {

// Ranks of a node share its cores. A number the user chose stands.
void LimitThreads(const RankEnvironment& environment) {
  if (environment.local_world_size == 1 || std::getenv("OMP_NUM_THREADS") != nullptr) return;
  const int cores = static_cast<int>(std::thread::hardware_concurrency());
  at::set_num_threads(std::max(1, cores / environment.local_world_size));
}

absl::Status JoinRanks(TrainingJob& job) {
  const RankEnvironment& environment = job.options.environment;
  const int64_t wanted =
      int64_t{job.spec().resources.nodes} * job.spec().resources.devices_per_node;
  if (wanted != environment.world_size) {
    return WithReason(
        absl::InvalidArgumentError(absl::StrCat(
            "resources.devices_per_node asks for ", wanted, " rank(s), and ",
            environment.world_size,
            " run(s) (WORLD_SIZE); start one process a device, with longlora-worker or torchrun")),
        "INVALID_SPEC");
  }
  LimitThreads(environment);
  auto backend = CreateDeviceBackend(job.spec().resources.device, environment);
  if (!backend.ok()) return WithReason(backend.status(), "DEVICE_UNAVAILABLE");
  job.backend = *std::move(backend);
  if (environment.world_size == 1) {
    job.group = std::make_unique<SingleProcessGroup>();
    return absl::OkStatus();
  }
  auto rendezvous = MeetPeers(environment);
  if (!rendezvous.ok()) return WithReason(rendezvous.status(), "PEER_LOST");
  auto communicator = job.backend->CreateCommunicator(*rendezvous, environment);
  if (!communicator.ok()) return WithReason(communicator.status(), "PEER_LOST");
  job.group = std::make_unique<C10dProcessGroup>(*std::move(communicator), *std::move(rendezvous),
                                                 job.device());
  return absl::OkStatus();
}

absl::StatusOr<RowDataset> LoadDataset(const TrainingJob& job, const std::string& path,
                                       const Tokenizer* tokenizer, bool keep_partial_row) {
  const common::TrainSpec& spec = job.spec();
  return RowDataset::Load({.path = path,
                           .format = spec.dataset.format,
                           .vocab_size = job.model->config().vocab_size,
                           .tokenizer = tokenizer},
                          {.max_sequence_length = spec.max_sequence_length,
                           .packing = spec.dataset.packing,
                           .keep_partial_row = keep_partial_row});
}

absl::Status LoadData(TrainingJob& job) {
  const common::DatasetSpec& dataset = job.spec().dataset;
  std::optional<Tokenizer> tokenizer;
  if (dataset.format == common::DatasetFormat::kText) {
    auto loaded = Tokenizer::Load(job.base_directory);
    if (!loaded.ok()) return BlameInput(loaded.status(), "MODEL_INVALID");
    tokenizer = *std::move(loaded);
  }
  const Tokenizer* const tokenizer_or_null = tokenizer.has_value() ? &*tokenizer : nullptr;
  auto training = LoadDataset(job, dataset.training, tokenizer_or_null, /*keep_partial_row=*/false);
  if (!training.ok()) {
    return BlameInput(common::Annotate(training.status(), "dataset.training"), "DATASET_INVALID");
  }
  job.training = std::make_unique<RowDataset>(*std::move(training));
  for (const std::string& warning : job.training->stats().warnings) {
    job.warnings.push_back(absl::StrCat("dataset.training: ", warning));
  }
  if (dataset.validation.empty()) return absl::OkStatus();

  auto validation =
      LoadDataset(job, dataset.validation, tokenizer_or_null, /*keep_partial_row=*/true);
  if (!validation.ok()) {
    return BlameInput(common::Annotate(validation.status(), "dataset.validation"),
                      "DATASET_INVALID");
  }
  job.validation = std::make_unique<RowDataset>(*std::move(validation));
  for (const std::string& warning : job.validation->stats().warnings) {
    job.warnings.push_back(absl::StrCat("dataset.validation: ", warning));
  }
  return absl::OkStatus();
}

absl::Status MakePrompts(TrainingJob& job) {
  const common::PasskeySpec& passkey = job.spec().evaluation.passkey;
  if (passkey.lengths.empty()) return absl::OkStatus();
  const auto tokenizer = Tokenizer::Load(job.base_directory);
  if (!tokenizer.ok()) {
    return BlameInput(common::Annotate(tokenizer.status(),
                                       "evaluation.passkey.lengths needs the model's tokenizer"),
                      "INVALID_SPEC");
  }
  const auto encode = [&](const std::string& text) { return tokenizer->Encode(text); };
  auto prompts = MakePasskeyPrompts(passkey, job.spec().training.seed, encode);
  if (!prompts.ok()) return BlameInput(prompts.status(), "INVALID_SPEC");
  job.passkey_prompts = *std::move(prompts);
  for (const PasskeyPrompt& prompt : job.passkey_prompts) {
    for (const std::vector<int64_t>* ids : {&prompt.ids, &prompt.answer}) {
      if (*std::max_element(ids->begin(), ids->end()) < job.model->config().vocab_size) continue;
      return WithReason(absl::InvalidArgumentError(
                            "evaluation.passkey.lengths: the tokenizer of base_model gives "
                            "tokens beyond the model's vocabulary"),
                        "MODEL_INVALID");
    }
  }
  return absl::OkStatus();
}

absl::Status PlanSteps(TrainingJob& job) {
  const common::TrainingSpec& training = job.spec().training;
  LONGLORA_ASSIGN_OR_RETURN(
      RowSampler sampler,
      RowSampler::Create({.num_rows = job.training->num_rows(),
                          .shuffle = job.spec().dataset.shuffle,
                          .seed = training.seed,
                          .micro_batch_size = training.micro_batch_size,
                          .accumulation_steps = training.gradient_accumulation_steps,
                          .rank = job.group->rank(),
                          .world_size = job.group->world_size()}));
  job.sampler = std::make_unique<RowSampler>(std::move(sampler));
  // CheckTrainSpec saw to it that one of the two is there.
  if (training.max_steps.has_value()) {
    job.total_steps = *training.max_steps;
  } else if (training.epochs.has_value()) {
    job.total_steps = job.sampler->StepsForEpochs(*training.epochs);
  }
  if (job.spec().optimizer.warmup_steps >= job.total_steps) {
    job.warnings.push_back(absl::StrCat(
        "optimizer.warmup_steps is ", job.spec().optimizer.warmup_steps, " and the job has ",
        job.total_steps, " step(s): the learning rate never reaches its peak"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<TrainingJob>> SetUpJob(const TrainerOptions& options) {
  auto job = std::make_unique<TrainingJob>();
  job->options = options;
  LONGLORA_RETURN_IF_ERROR(JoinRanks(*job));
  LONGLORA_RETURN_IF_ERROR(LoadBaseModel(*job));
  LONGLORA_RETURN_IF_ERROR(LoadData(*job));
  LONGLORA_RETURN_IF_ERROR(AddTrainedParameters(*job));
  LONGLORA_RETURN_IF_ERROR(MakePrompts(*job));
  LONGLORA_RETURN_IF_ERROR(PlanSteps(*job));
  return job;
}

}  // namespace longlora::trainer
