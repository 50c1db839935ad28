#include "worker/agent/job_files.h"

#include <stdio.h>
#include <unistd.h>

#include <cerrno>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/io/files.h"
#include "common/io/sha256.h"
#include "common/status/annotate.h"
#include "common/status/status_macros.h"
#include "common/trainer_protocol/spec_codec.h"
#include "rpc/spec_json.h"
#include "worker/agent/download.h"
#include "worker/agent/failure.h"

namespace longlora::worker {
namespace {

absl::Status ProvideDataset(const JobFilesContext& context, const AttemptDirectory& directory,
                            const std::string& field, std::string* path) {
  const std::string local = absl::StrCat(directory.data(), "/", field, ".jsonl");
  const absl::Status status = context.cache->Provide(*path, local, context.cancellation);
  if (!status.ok()) return common::Annotate(status, absl::StrCat("dataset.", field));
  *path = local;
  return absl::OkStatus();
}

absl::Status FetchCheckpointArtifact(const JobFilesContext& context, const api::Artifact& artifact,
                                     const std::string& prefix, const std::string& directory) {
  if (!common::IsSafeRelativePath(artifact.path()) || !absl::StartsWith(artifact.path(), prefix) ||
      !common::IsSha256Hex(artifact.sha256())) {
    return FailureError("TRANSFER_FAILED",
                        absl::StrCat("the server named an artifact of a checkpoint that "
                                     "cannot be stored: ",
                                     artifact.path()));
  }
  const std::string path = absl::StrCat(directory, "/", artifact.path().substr(prefix.size()));
  LONGLORA_RETURN_IF_ERROR(common::CreateDirectories(path.substr(0, path.rfind('/'))));
  return Download(
      {.path = path, .partial_path = absl::StrCat(path, ".partial"), .sha256 = artifact.sha256()},
      context.retry, context.cancellation, [&](int64_t offset, ServerLink::OnData on_data) {
        return context.link->FetchArtifact(context.id, artifact.path(), offset, on_data,
                                           context.cancellation);
      });
}

// Puts the checkpoint where the trainer's --resume looks: DIR/checkpoints/step-N, there as a whole
// or not.
absl::Status FetchCheckpoint(const JobFilesContext& context, const api::Checkpoint& checkpoint,
                             const AttemptDirectory& directory) {
  const std::string prefix = absl::StrCat("checkpoints/step-", checkpoint.step(), "/");
  const std::string checkpoints = absl::StrCat(directory.output(), "/checkpoints");
  const std::string fetched = absl::StrCat(directory.path(), "/fetched-checkpoint");
  LONGLORA_RETURN_IF_ERROR(common::CreateDirectories(checkpoints));
  LONGLORA_RETURN_IF_ERROR(common::CreateDirectories(fetched));
  for (const api::Artifact& artifact : checkpoint.artifacts()) {
    LONGLORA_RETURN_IF_ERROR(FetchCheckpointArtifact(context, artifact, prefix, fetched));
  }
  const std::string target = absl::StrCat(checkpoints, "/step-", checkpoint.step());
  if (rename(fetched.c_str(), target.c_str()) != 0) {
    return common::ErrnoStatus(errno, "move into place", target);
  }
  return common::FsyncDirectory(checkpoints);
}

}  // namespace

absl::Status PrepareJobFiles(const JobFilesContext& context, const seam::Assignment& assignment,
                             const AttemptDirectory& directory) {
  auto parsed = rpc::ToTrainSpec(assignment.spec());
  if (!parsed.ok()) return FailureError("INVALID_SPEC", parsed.status().message());
  common::TrainSpec spec = *std::move(parsed);
  LONGLORA_ASSIGN_OR_RETURN(spec.base_model,
                            ResolveModelPath("base_model", spec.base_model, context.roots));
  if (!spec.method.initial_adapter.empty()) {
    LONGLORA_ASSIGN_OR_RETURN(
        spec.method.initial_adapter,
        ResolveModelPath("method.initial_adapter", spec.method.initial_adapter, context.roots));
  }
  LONGLORA_RETURN_IF_ERROR(ProvideDataset(context, directory, "training", &spec.dataset.training));
  if (!spec.dataset.validation.empty()) {
    LONGLORA_RETURN_IF_ERROR(
        ProvideDataset(context, directory, "validation", &spec.dataset.validation));
  }
  if (assignment.has_resume_from()) {
    LONGLORA_RETURN_IF_ERROR(FetchCheckpoint(context, assignment.resume_from(), directory));
  }
  return common::AtomicWriteFile(directory.spec(), common::FormatTrainSpec(spec));
}

}  // namespace longlora::worker
