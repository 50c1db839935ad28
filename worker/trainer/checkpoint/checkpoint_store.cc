#include "worker/trainer/checkpoint/checkpoint_store.h"

#include <stdio.h>
#include <torch/version.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/io/files.h"
#include "common/io/sha256.h"
#include "common/status/annotate.h"
#include "common/status/status_macros.h"
#include "worker/trainer/checkpoint/checkpoint_manifest.h"
#include "worker/trainer/checkpoint/staged_directory.h"
#include "worker/trainer/torch.h"

namespace longlora::trainer {
namespace {

constexpr char kManifestName[] = "manifest.json";
constexpr char kTensorsName[] = "tensors.safetensors";
constexpr char kStepPrefix[] = "step-";
constexpr char kHiddenPrefix[] = ".step-";  // staged, or on its way out
constexpr int64_t kManifestBytesMax = int64_t{64} << 20;

// Size and SHA-256 of every file below `directory`.
absl::StatusOr<std::map<std::string, CheckpointManifest::File>> Measure(
    const std::string& directory) {
  std::map<std::string, CheckpointManifest::File> files;
  LONGLORA_ASSIGN_OR_RETURN(const std::vector<std::string> paths, common::ListFiles(directory));
  for (const std::string& path : paths) {
    const std::string whole = absl::StrCat(directory, "/", path);
    LONGLORA_ASSIGN_OR_RETURN(files[path].bytes, common::FileSize(whole));
    LONGLORA_ASSIGN_OR_RETURN(files[path].sha256, common::Sha256File(whole));
  }
  return files;
}

absl::Status VerifyFile(const std::string& whole, const CheckpointManifest::File& expected) {
  const absl::StatusOr<int64_t> bytes = common::FileSize(whole);
  if (absl::IsNotFound(bytes.status()))
    return absl::DataLossError(absl::StrCat(whole, " is missing"));
  LONGLORA_RETURN_IF_ERROR(bytes.status());
  if (*bytes != expected.bytes) {
    return absl::DataLossError(
        absl::StrCat(whole, " has ", *bytes, " bytes, the manifest says ", expected.bytes));
  }
  LONGLORA_ASSIGN_OR_RETURN(const std::string sha256, common::Sha256File(whole));
  if (sha256 != expected.sha256) {
    return absl::DataLossError(
        absl::StrCat(whole, " is damaged: its SHA-256 is not the manifest's"));
  }
  return absl::OkStatus();
}

absl::StatusOr<CheckpointManifest> ReadManifest(const std::string& directory) {
  const std::string path = absl::StrCat(directory, "/", kManifestName);
  const absl::StatusOr<std::string> text = common::ReadFile(path, kManifestBytesMax);
  if (absl::IsNotFound(text.status())) {
    return absl::DataLossError(absl::StrCat(directory, " is incomplete: it has no manifest"));
  }
  LONGLORA_RETURN_IF_ERROR(text.status());
  auto manifest = ParseManifest(*text);
  if (!manifest.ok()) return common::Annotate(manifest.status(), directory);
  return manifest;
}

absl::StatusOr<TensorMap> ReadTensors(const std::string& path) {
  LONGLORA_ASSIGN_OR_RETURN(const SafetensorsFile file, SafetensorsFile::Open(path));
  TensorMap tensors;
  for (const auto& [name, entry] : file.entries()) {
    LONGLORA_ASSIGN_OR_RETURN(tensors[name], file.Get(name));
  }
  return tensors;
}

// Steps with a directory, oldest first, whatever is in it.
std::vector<int64_t> StepsIn(const std::string& directory) {
  std::vector<int64_t> steps;
  std::error_code error;
  for (std::filesystem::directory_iterator it(directory, error), end; !error && it != end;
       it.increment(error)) {
    const std::string name = it->path().filename().string();
    int64_t step = 0;
    if (absl::StartsWith(name, kStepPrefix) &&
        absl::SimpleAtoi(name.substr(sizeof(kStepPrefix) - 1), &step) && step >= 0 &&
        name == absl::StrCat(kStepPrefix, step)) {
      steps.push_back(step);
    }
  }
  std::sort(steps.begin(), steps.end());
  return steps;
}

absl::Status RemoveHidden(const std::string& directory) {
  std::vector<std::string> hidden;
  std::error_code error;
  for (std::filesystem::directory_iterator it(directory, error), end; !error && it != end;
       it.increment(error)) {
    if (absl::StartsWith(it->path().filename().string(), kHiddenPrefix))
      hidden.push_back(it->path().string());
  }
  for (const std::string& path : hidden) LONGLORA_RETURN_IF_ERROR(common::RemoveAll(path));
  return absl::OkStatus();
}

}  // namespace

CheckpointStore::CheckpointStore(std::string directory, int64_t keep_last,
                                 std::optional<int64_t> best_step)
    : directory_(std::move(directory)),
      keep_last_(std::max<int64_t>(keep_last, 1)),
      best_step_(best_step) {}

std::string CheckpointStore::StepPath(int64_t step) const {
  return absl::StrCat(directory_, "/", kStepPrefix, step);
}

absl::StatusOr<SavedCheckpoint> CheckpointStore::Save(const Checkpoint& checkpoint,
                                                      const WriteExtra& write_extra) {
  const std::string target = StepPath(checkpoint.step);
  LONGLORA_ASSIGN_OR_RETURN(StagedDirectory staged, StagedDirectory::Create(target));
  LONGLORA_RETURN_IF_ERROR(
      WriteSafetensors(absl::StrCat(staged.path(), "/", kTensorsName), checkpoint.tensors, {}));
  if (write_extra) LONGLORA_RETURN_IF_ERROR(write_extra(staged.path()));
  LONGLORA_RETURN_IF_ERROR(staged.Sync());

  CheckpointManifest manifest;
  manifest.step = checkpoint.step;
  manifest.world_size = checkpoint.world_size;
  manifest.spec_digest = checkpoint.spec_digest;
  manifest.torch_version = TORCH_VERSION;
  manifest.state = checkpoint.state;
  LONGLORA_ASSIGN_OR_RETURN(manifest.files, Measure(staged.path()));
  const std::string text = FormatManifest(manifest);
  LONGLORA_RETURN_IF_ERROR(
      common::AtomicWriteFile(absl::StrCat(staged.path(), "/", kManifestName), text));
  LONGLORA_RETURN_IF_ERROR(staged.Commit());
  LONGLORA_RETURN_IF_ERROR(ApplyRetention(checkpoint.step));

  SavedCheckpoint saved = {target, static_cast<int64_t>(text.size())};
  for (const auto& [path, file] : manifest.files) saved.bytes += file.bytes;
  return saved;
}

absl::StatusOr<LoadedCheckpoint> CheckpointStore::Load(int64_t step) const {
  const std::string path = StepPath(step);
  std::error_code error;
  if (!std::filesystem::is_directory(path, error)) {
    return absl::NotFoundError(absl::StrCat("there is no checkpoint ", path));
  }
  LONGLORA_ASSIGN_OR_RETURN(CheckpointManifest manifest, ReadManifest(path));
  if (manifest.step != step) {
    return absl::DataLossError(absl::StrCat(path, " holds the checkpoint of step ", manifest.step));
  }
  if (manifest.files.count(kTensorsName) == 0) {
    return absl::DataLossError(absl::StrCat(path, ": its manifest does not list ", kTensorsName));
  }
  for (const auto& [name, file] : manifest.files) {
    LONGLORA_RETURN_IF_ERROR(VerifyFile(absl::StrCat(path, "/", name), file));
  }
  LoadedCheckpoint loaded;
  loaded.path = path;
  loaded.checkpoint.step = step;
  loaded.checkpoint.world_size = manifest.world_size;
  loaded.checkpoint.spec_digest = std::move(manifest.spec_digest);
  loaded.checkpoint.state = std::move(manifest.state);
  LONGLORA_ASSIGN_OR_RETURN(loaded.checkpoint.tensors,
                            ReadTensors(absl::StrCat(path, "/", kTensorsName)));
  return loaded;
}

absl::StatusOr<std::optional<LoadedCheckpoint>> CheckpointStore::LoadNewest() const {
  std::vector<int64_t> steps = StepsIn(directory_);
  if (steps.empty()) return std::nullopt;
  std::vector<std::string> warnings;
  for (auto step = steps.rbegin(); step != steps.rend(); ++step) {
    absl::StatusOr<LoadedCheckpoint> loaded = Load(*step);
    if (loaded.ok()) {
      loaded->warnings = std::move(warnings);
      return std::optional<LoadedCheckpoint>(*std::move(loaded));
    }
    warnings.push_back(absl::StrCat(
        "checkpoint step-", *step,
        " cannot be used and is passed over: ", std::string(loaded.status().message())));
  }
  return absl::DataLossError(
      absl::StrCat("no checkpoint in ", directory_, " is whole: ", absl::StrJoin(warnings, "; ")));
}

std::vector<int64_t> CheckpointStore::ListSteps() const {
  std::vector<int64_t> steps = StepsIn(directory_);
  steps.erase(std::remove_if(steps.begin(), steps.end(),
                             [&](int64_t step) {
                               std::error_code error;
                               return !std::filesystem::exists(
                                   absl::StrCat(StepPath(step), "/", kManifestName), error);
                             }),
              steps.end());
  return steps;
}

absl::Status CheckpointStore::ApplyRetention(int64_t newest) const {
  std::vector<int64_t> steps = StepsIn(directory_);
  if (best_step_.has_value() && *best_step_ <= newest) {
    steps.erase(std::remove(steps.begin(), steps.end(), *best_step_), steps.end());
  }
  const auto after = std::upper_bound(steps.begin(), steps.end(), newest);
  // Later steps belong to a run that was given up: damaged ones, or those of an earlier life of
  // DIR.
  std::vector<int64_t> removed(after, steps.end());
  const int64_t num_old = std::max<int64_t>(0, (after - steps.begin()) - keep_last_);
  removed.insert(removed.end(), steps.begin(), steps.begin() + num_old);
  for (const int64_t step : removed) {
    // Renamed first, so that a crash half-way through leaves nothing that looks like a checkpoint.
    const std::string hidden = absl::StrCat(directory_, "/", kHiddenPrefix, step, ".removed");
    LONGLORA_RETURN_IF_ERROR(common::RemoveAll(hidden));
    if (rename(StepPath(step).c_str(), hidden.c_str()) != 0) {
      return common::ErrnoStatus(errno, "cannot remove", StepPath(step));
    }
  }
  return RemoveHidden(directory_);
}

}  // namespace longlora::trainer
