#include "worker/agent/artifact_upload.h"

#include <errno.h>
#include <fcntl.h>

#include "absl/strings/str_cat.h"
#include "common/io/files.h"
#include "common/io/sha256.h"
#include "common/io/unique_fd.h"
#include "common/status/annotate.h"
#include "common/status/status_macros.h"
#include "rpc/grpc_status.h"

namespace longlora::worker {
namespace {

// One go: asks what is there, sends the rest.
absl::Status UploadRest(const UploadContext& context, const api::Artifact& artifact, int fd) {
  LONGLORA_ASSIGN_OR_RETURN(
      const seam::GetArtifactStatusResponse status,
      context.link->GetArtifactStatus(context.id, artifact, context.cancellation));
  if (status.complete()) return absl::OkStatus();
  const absl::Status sent = context.link->UploadArtifact(
      context.id, artifact, fd, status.received_bytes(),
      [&](int64_t bytes) { context.metrics->AddUploadedBytes(bytes); }, context.cancellation);
  const std::string reason = rpc::GetErrorDetails(sent).reason;
  // What the server has in part does not fit: it drops that, and the next go starts from what it
  // says then.
  if (reason == "DIGEST_MISMATCH" || reason == "SIZE_MISMATCH" || reason == "OFFSET_INVALID") {
    return absl::AbortedError(sent.message());
  }
  return sent;
}

}  // namespace

absl::StatusOr<api::Artifact> UploadArtifactFile(const UploadContext& context,
                                                 const std::string& local,
                                                 const std::string& path) {
  const common::UniqueFd fd(open(local.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.ok()) return common::ErrnoStatus(errno, "open", local);
  api::Artifact artifact;
  artifact.set_path(path);
  LONGLORA_ASSIGN_OR_RETURN(const int64_t size, common::FileSize(local));
  artifact.set_size_bytes(size);
  LONGLORA_ASSIGN_OR_RETURN(*artifact.mutable_sha256(), common::Sha256File(local));
  const absl::Status sent = RetryCall(context.policy, context.cancellation,
                                      [&] { return UploadRest(context, artifact, fd.get()); });
  if (!sent.ok()) return common::Annotate(sent, absl::StrCat("upload of ", path));
  return artifact;
}

absl::StatusOr<std::vector<api::Artifact>> UploadArtifactTree(const UploadContext& context,
                                                              const std::string& directory,
                                                              const std::string& prefix) {
  LONGLORA_ASSIGN_OR_RETURN(const std::vector<std::string> files, common::ListFiles(directory));
  std::vector<api::Artifact> artifacts;
  for (const std::string& file : files) {
    LONGLORA_ASSIGN_OR_RETURN(api::Artifact artifact,
                              UploadArtifactFile(context, absl::StrCat(directory, "/", file),
                                                 absl::StrCat(prefix, "/", file)));
    artifacts.push_back(std::move(artifact));
  }
  return artifacts;
}

}  // namespace longlora::worker
