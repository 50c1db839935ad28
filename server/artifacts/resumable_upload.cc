#include "server/artifacts/resumable_upload.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/io/files.h"
#include "common/status/status_macros.h"
#include "rpc/grpc_status.h"

namespace longlora::server {
namespace {

constexpr size_t kReadBytes = 1 << 20;

std::string ParentOf(const std::string& path) { return path.substr(0, path.rfind('/')); }

// Opens and locks the file that `path` names. A finished upload renames the file and a failed one
// unlinks it, so after locking it must be checked that the name still leads to the same file.
absl::StatusOr<common::UniqueFd> OpenLocked(const std::string& path) {
  for (int tries = 0; tries < 3; ++tries) {
    common::UniqueFd fd(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
    // Its directory goes with an upload that was finished just now.
    if (!fd.ok() && errno == ENOENT) break;
    if (!fd.ok()) return common::ErrnoStatus(errno, "open", path);
    if (flock(fd.get(), LOCK_EX | LOCK_NB) != 0) break;
    struct stat opened;
    struct stat named;
    if (fstat(fd.get(), &opened) != 0) return common::ErrnoStatus(errno, "inspect", path);
    if (stat(path.c_str(), &named) == 0 && named.st_ino == opened.st_ino) return fd;
  }
  return rpc::MakeError(absl::StatusCode::kUnavailable,
                        "another upload of the same content is going on; try again",
                        {.reason = "UPLOAD_BUSY"});
}

}  // namespace

absl::StatusOr<std::unique_ptr<ResumableUpload>> ResumableUpload::Begin(UploadTarget target,
                                                                        int64_t offset) {
  LONGLORA_RETURN_IF_ERROR(common::CreateDirectories(ParentOf(target.final_path)));
  LONGLORA_RETURN_IF_ERROR(common::CreateDirectories(ParentOf(target.partial_path)));
  LONGLORA_ASSIGN_OR_RETURN(common::UniqueFd fd, OpenLocked(target.partial_path));
  std::unique_ptr<ResumableUpload> upload(new ResumableUpload(std::move(target), std::move(fd)));
  LONGLORA_RETURN_IF_ERROR(upload->Resume(offset));
  return upload;
}

absl::Status ResumableUpload::Resume(int64_t offset) {
  const std::string& path = target_.partial_path;
  if (offset == 0) {
    if (ftruncate(fd_.get(), 0) != 0) return common::ErrnoStatus(errno, "truncate", path);
    return absl::OkStatus();
  }
  struct stat info;
  if (fstat(fd_.get(), &info) != 0) return common::ErrnoStatus(errno, "inspect", path);
  if (offset != info.st_size || offset > target_.size_bytes) {
    return rpc::MakeError(
        absl::StatusCode::kOutOfRange,
        absl::StrCat("offset ", offset, " is not the number of bytes received, ", info.st_size),
        {.reason = "OFFSET_INVALID",
         .metadata = {{"offset", absl::StrCat(offset)},
                      {"received_bytes", absl::StrCat(info.st_size)}}});
  }
  std::vector<char> buffer(kReadBytes);
  while (received_bytes_ < offset) {
    const ssize_t count = read(fd_.get(), buffer.data(), buffer.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return common::ErrnoStatus(errno, "read", path);
    if (count == 0) return common::ErrnoStatus(EIO, "read", path);
    digest_.Update(absl::string_view(buffer.data(), static_cast<size_t>(count)));
    received_bytes_ += count;
  }
  return absl::OkStatus();
}

absl::Status ResumableUpload::Append(absl::string_view data) {
  if (static_cast<int64_t>(data.size()) > target_.size_bytes - received_bytes_) {
    return rpc::MakeError(absl::StatusCode::kInvalidArgument,
                          absl::StrCat("more bytes than the announced size, ", target_.size_bytes),
                          {.reason = "SIZE_MISMATCH",
                           .metadata = {{"size_bytes", absl::StrCat(target_.size_bytes)}}});
  }
  digest_.Update(data);
  received_bytes_ += static_cast<int64_t>(data.size());
  while (!data.empty()) {
    const ssize_t written = write(fd_.get(), data.data(), data.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return common::ErrnoStatus(errno, "write", target_.partial_path);
    data.remove_prefix(static_cast<size_t>(written));
  }
  return absl::OkStatus();
}

absl::Status ResumableUpload::Finish() {
  if (received_bytes_ != target_.size_bytes) {
    return rpc::MakeError(absl::StatusCode::kInvalidArgument,
                          absl::StrCat("the upload ended after ", received_bytes_, " of ",
                                       target_.size_bytes, " bytes"),
                          {.reason = "SIZE_MISMATCH",
                           .metadata = {{"size_bytes", absl::StrCat(target_.size_bytes)},
                                        {"received_bytes", absl::StrCat(received_bytes_)}}});
  }
  const std::string sha256 = digest_.HexDigest();
  if (sha256 != target_.sha256) {
    unlink(target_.partial_path.c_str());
    return rpc::MakeError(
        absl::StatusCode::kInvalidArgument,
        absl::StrCat("the content has SHA-256 ", sha256, ", announced was ", target_.sha256,
                     ": it was damaged on its way or changed while being read; upload it again"),
        {.reason = "DIGEST_MISMATCH",
         .metadata = {{"sha256", sha256}, {"announced_sha256", target_.sha256}}});
  }
  return MoveIntoPlace();
}

absl::Status ResumableUpload::MoveIntoPlace() {
  if (fsync(fd_.get()) != 0) return common::ErrnoStatus(errno, "fsync", target_.partial_path);
  if (rename(target_.partial_path.c_str(), target_.final_path.c_str()) != 0) {
    return common::ErrnoStatus(errno, "rename to", target_.final_path);
  }
  // A directory that only held the partial file is of no use any more; any other is not empty.
  rmdir(ParentOf(target_.partial_path).c_str());
  // Directories on the way may be new as well; each is an entry of the one above.
  for (std::string directory = ParentOf(target_.final_path);
       directory.size() >= target_.root.size(); directory = ParentOf(directory)) {
    LONGLORA_RETURN_IF_ERROR(common::FsyncDirectory(directory));
    if (directory == target_.root) break;
  }
  return absl::OkStatus();
}

}  // namespace longlora::server
