#include "worker/agent/checkpoint_uploader.h"

#include <errno.h>
#include <unistd.h>

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/io/files.h"
#include "common/status/status_macros.h"

namespace longlora::worker {
namespace {

// Links every file below `from` to the same place below `to`.
absl::Status LinkTree(const std::string& from, const std::string& to) {
  LONGLORA_RETURN_IF_ERROR(common::RemoveAll(to));
  LONGLORA_ASSIGN_OR_RETURN(const std::vector<std::string> files, common::ListFiles(from));
  if (files.empty()) return absl::NotFoundError(absl::StrCat(from, ": holds no file"));
  for (const std::string& file : files) {
    const std::string target = absl::StrCat(to, "/", file);
    LONGLORA_RETURN_IF_ERROR(common::CreateDirectories(target.substr(0, target.rfind('/'))));
    if (link(absl::StrCat(from, "/", file).c_str(), target.c_str()) != 0) {
      return common::ErrnoStatus(errno, "link", target);
    }
  }
  return absl::OkStatus();
}

}  // namespace

CheckpointUploader::CheckpointUploader(UploadContext context, std::string staging,
                                       size_t pending_max,
                                       std::function<void(int64_t, const absl::Status&)> on_failed)
    : context_(std::move(context)),
      staging_(std::move(staging)),
      pending_max_(pending_max),
      on_failed_(std::move(on_failed)),
      thread_([this] { Run(); }) {}

CheckpointUploader::~CheckpointUploader() {
  context_.cancellation->Cancel();
  {
    absl::MutexLock lock(&mutex_);
    ending_ = true;
  }
  thread_.join();
}

std::string CheckpointUploader::StagingOf(int64_t step) const {
  return absl::StrCat(staging_, "/step-", step);
}

absl::Status CheckpointUploader::Add(const PendingCheckpoint& checkpoint,
                                     const std::string& directory) {
  LONGLORA_RETURN_IF_ERROR(LinkTree(directory, StagingOf(checkpoint.step)));
  std::vector<PendingCheckpoint> given_up;
  {
    absl::MutexLock lock(&mutex_);
    queue_.push_back(checkpoint);
    while (queue_.size() > pending_max_) {
      given_up.push_back(queue_.front());
      queue_.pop_front();
    }
  }
  for (const PendingCheckpoint& old : given_up) {
    LONGLORA_RETURN_IF_ERROR(common::RemoveAll(StagingOf(old.step)));
    on_failed_(old.step, absl::ResourceExhaustedError(
                             "newer checkpoints came faster than they could be sent"));
  }
  return absl::OkStatus();
}

void CheckpointUploader::WaitUntilDone() {
  // The cancellation is not part of the mutex, so it is looked at from time to time.
  absl::MutexLock lock(&mutex_);
  while (!common::AwaitWithTimeout(&mutex_, absl::Condition(this, &CheckpointUploader::IsDone),
                                   absl::Milliseconds(200))) {
  }
}

void CheckpointUploader::Run() {
  while (true) {
    PendingCheckpoint checkpoint;
    {
      absl::MutexLock lock(&mutex_);
      busy_ = false;
      common::Await(&mutex_, absl::Condition(this, &CheckpointUploader::HasWork));
      if (ending_) return;
      checkpoint = queue_.front();
      queue_.pop_front();
      busy_ = true;
    }
    const absl::Status status = Upload(checkpoint);
    if (!status.ok() && !context_.cancellation->cancelled()) on_failed_(checkpoint.step, status);
    // What stays behind goes with the attempt's directory.
    common::RemoveAll(StagingOf(checkpoint.step)).IgnoreError();
  }
}

absl::Status CheckpointUploader::Upload(const PendingCheckpoint& pending) {
  LONGLORA_ASSIGN_OR_RETURN(const std::vector<api::Artifact> artifacts,
                            UploadArtifactTree(context_, StagingOf(pending.step), pending.path));
  api::Checkpoint checkpoint;
  checkpoint.set_step(pending.step);
  checkpoint.set_attempt(context_.id.attempt);
  if (pending.loss.has_value()) checkpoint.set_loss(*pending.loss);
  checkpoint.set_best(pending.best);
  int64_t size = 0;
  for (const api::Artifact& artifact : artifacts) {
    *checkpoint.add_artifacts() = artifact;
    size += artifact.size_bytes();
  }
  checkpoint.set_size_bytes(size);
  return RetryCall(context_.policy, context_.cancellation, [&] {
    return context_.link->CommitCheckpoint(context_.id, checkpoint, context_.cancellation);
  });
}

}  // namespace longlora::worker
