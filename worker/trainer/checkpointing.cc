#include "worker/trainer/checkpointing.h"

#include <ATen/CPUGeneratorImpl.h>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/io/files.h"
#include "common/io/sha256.h"
#include "common/status/status_macros.h"
#include "common/trainer_protocol/spec_codec.h"
#include "worker/trainer/events/tensorboard_log.h"
#include "worker/trainer/export_results.h"
#include "worker/trainer/failure.h"
#include "worker/trainer/train_step.h"

namespace longlora::trainer {
namespace {

constexpr char kExpAvgPrefix[] = "exp_avg.";
constexpr char kExpAvgSqPrefix[] = "exp_avg_sq.";
constexpr char kBestPrefix[] = "best.";
constexpr char kRandomState[] = "random_state.cpu";

// Step of the checkpoint that checkpoint.keep_best keeps.
std::optional<int64_t> BestStep(const TrainingJob& job) {
  const ValidationRecord& record = job.validation_record;
  if (!job.spec().checkpoint.keep_best || !record.best_loss.has_value()) return std::nullopt;
  return record.best_step;
}

CheckpointStore MakeStore(const TrainingJob& job) {
  return CheckpointStore(absl::StrCat(job.options.output_directory, "/", kCheckpointFolder),
                         job.spec().checkpoint.keep_last, BestStep(job));
}

// Fills job.best_weights from the checkpoint of the best step, unless they are there.
absl::Status FindBestWeights(int64_t best_step, TrainingJob& job) {
  if (!job.best_weights.empty()) return absl::OkStatus();
  LONGLORA_ASSIGN_OR_RETURN(const LoadedCheckpoint loaded, MakeStore(job).Load(best_step));
  for (const Parameter& parameter : job.trained) {
    const auto found = loaded.checkpoint.tensors.find(parameter.name);
    if (found == loaded.checkpoint.tensors.end()) {
      return absl::DataLossError(absl::StrCat(loaded.path, " has no tensor ", parameter.name));
    }
    job.best_weights[parameter.name] = found->second;
  }
  return absl::OkStatus();
}

// The generator's state is bytes; a multiple of eight of them, and safetensors files here hold
// int64.
torch::Tensor RandomState() {
  return at::detail::getDefaultCPUGenerator().get_state().view(torch::kInt64);
}

void SetRandomState(const torch::Tensor& state) {
  at::Generator generator = at::detail::getDefaultCPUGenerator();
  generator.set_state(state.clone().view(torch::kUInt8));
}

// On the CPU, wherever the job trains.
TensorMap CopyTensors(const TrainingJob& job) {
  const auto copy = [](const torch::Tensor& tensor) {
    return torch::empty(tensor.sizes(), tensor.dtype()).copy_(tensor.detach());
  };
  TensorMap tensors;
  for (size_t i = 0; i < job.trained.size(); ++i) {
    const std::string& name = job.trained[i].name;
    tensors[name] = copy(job.trained[i].value);
    tensors[kExpAvgPrefix + name] = copy(job.optimizer->exp_avg()[i]);
    tensors[kExpAvgSqPrefix + name] = copy(job.optimizer->exp_avg_sq()[i]);
  }
  tensors[kRandomState] = RandomState();
  return tensors;
}

// Adds the best weights, under names of their own, where a resume would need them.
absl::Status AddBestWeights(TrainingJob& job, TensorMap& tensors) {
  const std::optional<int64_t> best_step = BestStep(job);
  if (!best_step.has_value() || job.spec().export_options.weights != common::ExportWeights::kBest) {
    return absl::OkStatus();
  }
  if (*best_step == job.step) {
    job.best_weights.clear();  // those of an earlier best
    return absl::OkStatus();
  }
  LONGLORA_RETURN_IF_ERROR(FindBestWeights(*best_step, job));
  for (const auto& [name, tensor] : job.best_weights) {
    tensors[absl::StrCat(kBestPrefix, name)] = tensor;
  }
  return absl::OkStatus();
}

absl::Status Mismatch(const std::string& path, absl::string_view what) {
  return WithReason(absl::FailedPreconditionError(absl::StrCat(
                        "cannot resume from ", path, ": ", what,
                        "; resume with the spec, model, data and ranks that wrote it, or start "
                        "anew in another output directory")),
                    "RESUME_MISMATCH");
}

// Copies `name` of the checkpoint into `target`.
absl::Status CopyTensor(const LoadedCheckpoint& loaded, const std::string& name,
                        const torch::Tensor& target) {
  const auto found = loaded.checkpoint.tensors.find(name);
  if (found == loaded.checkpoint.tensors.end()) {
    return Mismatch(loaded.path, absl::StrCat("it has no tensor ", name));
  }
  if (found->second.sizes() != target.sizes()) {
    return Mismatch(loaded.path, absl::StrCat("its tensor ", name, " has another shape"));
  }
  target.copy_(found->second);
  return absl::OkStatus();
}

absl::Status RestoreTensors(const LoadedCheckpoint& loaded, TrainingJob& job) {
  torch::NoGradGuard no_grad;
  for (size_t i = 0; i < job.trained.size(); ++i) {
    const std::string& name = job.trained[i].name;
    LONGLORA_RETURN_IF_ERROR(CopyTensor(loaded, name, job.trained[i].value));
    LONGLORA_RETURN_IF_ERROR(CopyTensor(loaded, kExpAvgPrefix + name, job.optimizer->exp_avg()[i]));
    LONGLORA_RETURN_IF_ERROR(
        CopyTensor(loaded, kExpAvgSqPrefix + name, job.optimizer->exp_avg_sq()[i]));
  }
  torch::Tensor random_state = torch::empty_like(RandomState());
  LONGLORA_RETURN_IF_ERROR(CopyTensor(loaded, kRandomState, random_state));
  SetRandomState(random_state);
  for (const Parameter& parameter : job.trained) {
    const auto best = loaded.checkpoint.tensors.find(kBestPrefix + parameter.name);
    if (best != loaded.checkpoint.tensors.end()) job.best_weights[parameter.name] = best->second;
  }
  return absl::OkStatus();
}

// Compares the witness loss with the stored one. A row that gives no finite loss does so again.
absl::Status CheckWitness(const LoadedCheckpoint& loaded, double stored, TrainingJob& job) {
  const double now = WitnessLoss(job);
  if (now == stored || (std::isnan(stored) && !std::isfinite(now))) return absl::OkStatus();
  // Other processors add in another order: some units in the last place of the compute type,
  // averaged over a row. Other weights or data differ by far more.
  const double tolerance = job.spec().training.precision == common::Precision::kBf16 ? 1e-2 : 1e-4;
  const std::string losses = absl::StrCat("the loss of training row 0 at its start was ", stored,
                                          " when it was saved and is ", now, " now");
  if (!(std::abs(now - stored) <= tolerance * std::abs(stored)))
    return Mismatch(loaded.path, losses);
  job.warnings.push_back(absl::StrCat("resumed from ", loaded.path, ", but ", losses,
                                      ": this machine rounds differently, so training goes on "
                                      "correctly, but not bit-equal to an uninterrupted run"));
  return absl::OkStatus();
}

absl::Status Restore(const LoadedCheckpoint& loaded, TrainingJob& job) {
  const Checkpoint& checkpoint = loaded.checkpoint;
  if (checkpoint.world_size != job.group->world_size()) {
    return Mismatch(loaded.path,
                    absl::StrCat("it was written by ", checkpoint.world_size, " rank(s), and ",
                                 job.group->world_size(), " run now"));
  }
  if (checkpoint.spec_digest != ResumeDigest(job.spec())) {
    return Mismatch(loaded.path,
                    "the spec's method, optimizer, training or dataset settings have changed");
  }
  LONGLORA_RETURN_IF_ERROR(RestoreTensors(loaded, job));
  double witness = 0.0;
  try {
    LONGLORA_ASSIGN_OR_RETURN(const SamplerState position,
                              SamplerStateFromJson(checkpoint.state.at("sampler")));
    LONGLORA_RETURN_IF_ERROR(BlameInput(job.sampler->Restore(position), "RESUME_MISMATCH"));
    job.evaluated_step = checkpoint.state.at("evaluated_step").get<int64_t>();
    job.first_loss = NumberFromJson(checkpoint.state.at("first_loss"));
    job.last_loss = checkpoint.state.at("last_loss").get<double>();
    job.skipped_in_a_row = checkpoint.state.at("skipped_in_a_row").get<int64_t>();
    job.skipped_steps = checkpoint.state.at("skipped_steps").get<int64_t>();
    LONGLORA_ASSIGN_OR_RETURN(job.validation_record,
                              ValidationRecordFromJson(checkpoint.state.at("validation_record")));
    job.optimizer->set_step(checkpoint.state.at("optimizer_step").get<int64_t>());
    const nlohmann::json& stored = checkpoint.state.at("witness_loss");
    witness = stored.is_null() ? std::nan("") : stored.get<double>();
  } catch (const nlohmann::json::exception& error) {
    return Mismatch(loaded.path, absl::StrCat("its state is not complete: ", error.what()));
  }
  job.step = checkpoint.step;
  return CheckWitness(loaded, witness, job);
}

// The checkpoint rank 0 found, on every rank; nullopt: there is none.
absl::StatusOr<std::optional<LoadedCheckpoint>> LoadTogether(const TrainingJob& job,
                                                             const CheckpointStore& store) {
  constexpr int64_t kNone = -1;
  constexpr int64_t kBroken = -2;
  absl::StatusOr<std::optional<LoadedCheckpoint>> found = std::optional<LoadedCheckpoint>();
  int64_t step = kNone;
  if (job.group->rank() == 0) {
    found = store.LoadNewest();
    if (!found.ok()) {
      step = kBroken;
    } else if (const std::optional<LoadedCheckpoint>& newest = *found; newest.has_value()) {
      step = newest->checkpoint.step;
    }
  }
  torch::Tensor message = torch::tensor({step}, torch::kInt64).to(job.device());
  LONGLORA_RETURN_IF_ERROR(WithReason(job.group->Broadcast({message}, /*root=*/0), "PEER_LOST"));
  if (job.group->rank() == 0) return found;
  step = message.item<int64_t>();
  if (step == kBroken) return absl::UnavailableError("rank 0 cannot load a checkpoint");
  if (step == kNone) return std::optional<LoadedCheckpoint>();
  LONGLORA_ASSIGN_OR_RETURN(LoadedCheckpoint loaded, store.Load(step));
  return std::optional<LoadedCheckpoint>(std::move(loaded));
}

}  // namespace

std::string ResumeDigest(const common::TrainSpec& spec) {
  common::TrainSpec essence = spec;
  essence.display_name.clear();
  essence.base_model.clear();
  essence.dataset.training.clear();
  essence.dataset.validation.clear();
  essence.method.initial_adapter.clear();
  essence.evaluation = {};
  essence.checkpoint = {};
  essence.export_options = {};
  essence.priority = 0;
  return common::Sha256Hex(common::FormatTrainSpec(essence));
}

absl::StatusOr<StateCopy> CopyState(TrainingJob& job) {
  TensorMap tensors = CopyTensors(job);
  StateCopy copy = {.checkpoint = {},
                    .adapter = DescribeAdapter(job, tensors),
                    .store = MakeStore(job),
                    .best = BestStep(job) == job.step};
  Checkpoint& checkpoint = copy.checkpoint;
  checkpoint.step = job.step;
  checkpoint.world_size = job.group->world_size();
  checkpoint.spec_digest = ResumeDigest(job.spec());
  checkpoint.state = {{"sampler", ToJson(job.sampler->state())},
                      {"evaluated_step", job.evaluated_step},
                      {"first_loss", ToJson(job.first_loss)},
                      {"last_loss", job.last_loss},
                      {"skipped_in_a_row", job.skipped_in_a_row},
                      {"skipped_steps", job.skipped_steps},
                      {"validation_record", ToJson(job.validation_record)},
                      {"optimizer_step", job.optimizer->step()},
                      {"witness_loss", WitnessLoss(job)}};
  LONGLORA_RETURN_IF_ERROR(AddBestWeights(job, tensors));
  checkpoint.tensors = std::move(tensors);
  return copy;
}

absl::StatusOr<common::CheckpointEvent> WriteCheckpoint(const StateCopy& copy) {
  const auto write_adapter = [&copy](const std::string& directory) {
    return BlameInput(ExportAdapter(copy.adapter, absl::StrCat(directory, "/", kAdapterFolder)),
                      "EXPORT_INVALID");
  };
  CheckpointStore store = copy.store;
  LONGLORA_ASSIGN_OR_RETURN(const SavedCheckpoint saved,
                            store.Save(copy.checkpoint, write_adapter));
  const int64_t step = copy.checkpoint.step;
  return common::CheckpointEvent{.step = step,
                                 .path = absl::StrCat(kCheckpointFolder, "/step-", step),
                                 .bytes = saved.bytes,
                                 .best = copy.best};
}

absl::Status TakeBestWeights(TrainingJob& job) {
  const std::optional<int64_t> best_step = BestStep(job);
  if (!best_step.has_value()) {
    return absl::FailedPreconditionError(
        "export.weights is best, and no validation loss of the run was finite");
  }
  job.exported_step = best_step;
  if (*best_step == job.step) return absl::OkStatus();
  LONGLORA_RETURN_IF_ERROR(FindBestWeights(*best_step, job));
  const torch::NoGradGuard no_grad;
  for (Parameter& parameter : job.trained) {
    parameter.value.copy_(job.best_weights.at(parameter.name));
  }
  return absl::OkStatus();
}

namespace {

// The log goes on where the checkpoint was: what a lost part of the run wrote after it is dropped.
absl::Status RestoreLog(const TrainingJob& job, const std::optional<LoadedCheckpoint>& loaded) {
  if (job.group->rank() != 0) return absl::OkStatus();
  const std::filesystem::path log =
      absl::StrCat(job.options.output_directory, "/", kTensorBoardFile);
  LONGLORA_RETURN_IF_ERROR(common::RemoveAll(log.parent_path().string()));
  LONGLORA_RETURN_IF_ERROR(common::CreateDirectories(log.parent_path().string()));
  std::error_code error;
  if (!loaded.has_value()) return absl::OkStatus();
  const std::string saved = absl::StrCat(loaded->path, "/", kAdapterFolder, "/", kTensorBoardFile);
  if (std::filesystem::exists(saved, error)) std::filesystem::copy_file(saved, log, error);
  return error ? common::ErrnoStatus(error.value(), "copy", saved) : absl::OkStatus();
}

}  // namespace

absl::Status PrepareStart(TrainingJob& job) {
  const CheckpointStore store = MakeStore(job);
  if (!job.options.resume) {
    if (store.ListSteps().empty()) return RestoreLog(job, std::nullopt);
    return WithReason(
        absl::FailedPreconditionError(absl::StrCat(
            job.options.output_directory,
            " already holds checkpoints; go on from them with --resume, or choose another "
            "--output")),
        "INVALID_SPEC");
  }
  const absl::StatusOr<std::optional<LoadedCheckpoint>> found = LoadTogether(job, store);
  if (!found.ok()) return BlameInput(found.status(), "RESUME_MISMATCH");
  const std::optional<LoadedCheckpoint>& loaded = *found;
  LONGLORA_RETURN_IF_ERROR(RestoreLog(job, loaded));
  if (!loaded.has_value()) {
    job.warnings.push_back(
        "there is no checkpoint to resume from: training starts at the first step");
    return absl::OkStatus();
  }
  job.warnings.insert(job.warnings.end(), loaded->warnings.begin(), loaded->warnings.end());
  return Restore(*loaded, job);
}

}  // namespace longlora::trainer
