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
#include "worker/trainer/allocation.h"
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

// What turns words into tokens; null where the format needs none.
struct TextTools {
  std::unique_ptr<Tokenizer> tokenizer;
  std::unique_ptr<ChatTemplate> chat_template;
};

absl::StatusOr<TextTools> LoadTextTools(TrainingJob& job) {
  TextTools tools;
  const common::DatasetFormat format = job.spec().dataset.format;
  if (format == common::DatasetFormat::kTokens) return tools;
  auto tokenizer = Tokenizer::Load(job.base_directory);
  if (!tokenizer.ok()) return BlameInput(tokenizer.status(), "MODEL_INVALID");
  tools.tokenizer = std::make_unique<Tokenizer>(*std::move(tokenizer));
  if (format != common::DatasetFormat::kChat) return tools;
  auto chat_template = ChatTemplate::Load(job.base_directory);
  if (!chat_template.ok()) return BlameInput(chat_template.status(), "MODEL_INVALID");
  tools.chat_template = std::make_unique<ChatTemplate>(*std::move(chat_template));
  if (tools.chat_template->asks_for_date()) {
    job.warnings.push_back(
        "the model's chat template writes today's date; training writes 26 July 2024 in its place, "
        "so that a resumed job sees the same tokens");
  }
  return tools;
}

// `field`: of the spec, dataset.training or dataset.validation.
absl::StatusOr<std::unique_ptr<RowDataset>> LoadDataset(TrainingJob& job, const TextTools& tools,
                                                        const std::string& path, const char* field,
                                                        bool keep_partial_row) {
  const common::TrainSpec& spec = job.spec();
  auto loaded = RowDataset::Load({.path = path,
                                  .example = {.format = spec.dataset.format,
                                              .vocab_size = job.model->config().vocab_size,
                                              .tokenizer = tools.tokenizer.get(),
                                              .chat_template = tools.chat_template.get(),
                                              .train_on_prompt = spec.dataset.train_on_prompt},
                                  .cache_directory = job.options.cache_directory},
                                 {.max_sequence_length = spec.max_sequence_length,
                                  .packing = spec.dataset.packing,
                                  .keep_partial_row = keep_partial_row,
                                  .length_policy = spec.dataset.length_policy});
  if (!loaded.ok()) {
    return BlameInput(common::Annotate(loaded.status(), field), "DATASET_INVALID");
  }
  for (const std::string& warning : loaded->stats().warnings) {
    job.warnings.push_back(absl::StrCat(field, ": ", warning));
  }
  return std::make_unique<RowDataset>(*std::move(loaded));
}

absl::Status LoadData(TrainingJob& job) {
  const common::DatasetSpec& dataset = job.spec().dataset;
  LONGLORA_ASSIGN_OR_RETURN(const TextTools tools, LoadTextTools(job));
  LONGLORA_ASSIGN_OR_RETURN(job.training,
                            LoadDataset(job, tools, dataset.training, "dataset.training",
                                        /*keep_partial_row=*/false));
  if (dataset.validation.empty()) return absl::OkStatus();
  LONGLORA_ASSIGN_OR_RETURN(job.validation,
                            LoadDataset(job, tools, dataset.validation, "dataset.validation",
                                        /*keep_partial_row=*/true));
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
  UseTensorMemory();
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
