#include "worker/agent/download.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "absl/strings/str_cat.h"
#include "common/io/files.h"
#include "common/io/sha256.h"
#include "common/io/unique_fd.h"
#include "common/status/status_macros.h"
#include "worker/agent/failure.h"

namespace longlora::worker {
namespace {

using ::longlora::common::ErrnoStatus;

// Times that a file with the wrong digest is fetched again from its start.
constexpr int kDigestTries = 3;

// Lets the partial file grow to its end.
absl::Status Grow(const std::string& path, const RetryPolicy& policy, Cancellation* cancellation,
                  FetchFrom fetch) {
  const common::UniqueFd file(open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
  if (!file.ok()) return ErrnoStatus(errno, "open", path);
  // An error of this node's disk is final, whatever its code.
  absl::Status disk;
  const absl::Status fetched = RetryCall(policy, cancellation, [&]() -> absl::Status {
    LONGLORA_ASSIGN_OR_RETURN(const int64_t offset, common::FileSize(path));
    const absl::Status status = fetch(offset, [&](absl::string_view data) {
      disk = common::WriteAll(file.get(), data, path);
      return disk;
    });
    if (!disk.ok()) return absl::FailedPreconditionError("disk");
    // What is here is longer than the file: it is rubbish.
    if (absl::IsOutOfRange(status) && offset > 0 && ftruncate(file.get(), 0) == 0) {
      return absl::AbortedError(status.message());
    }
    return status;
  });
  if (!disk.ok()) return disk;
  LONGLORA_RETURN_IF_ERROR(fetched);
  if (fsync(file.get()) != 0) return ErrnoStatus(errno, "sync", path);
  return absl::OkStatus();
}

}  // namespace

absl::Status Download(const DownloadTarget& target, const RetryPolicy& policy,
                      Cancellation* cancellation, FetchFrom fetch) {
  std::string digest;
  for (int i = 0; i < kDigestTries; ++i) {
    LONGLORA_RETURN_IF_ERROR(Grow(target.partial_path, policy, cancellation, fetch));
    LONGLORA_ASSIGN_OR_RETURN(digest, common::Sha256File(target.partial_path));
    if (digest == target.sha256) {
      if (rename(target.partial_path.c_str(), target.path.c_str()) != 0) {
        return ErrnoStatus(errno, "move into place", target.path);
      }
      return common::FsyncDirectory(target.path.substr(0, target.path.rfind('/')));
    }
    LONGLORA_RETURN_IF_ERROR(common::RemoveAll(target.partial_path));
  }
  return FailureError(
      "TRANSFER_FAILED",
      absl::StrCat("what the server sends for ", target.path, " has SHA-256 ", digest,
                   " instead of ", target.sha256, ", after ", kDigestTries, " tries"));
}

}  // namespace longlora::worker
