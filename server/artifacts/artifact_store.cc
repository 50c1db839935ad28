#include "server/artifacts/artifact_store.h"

#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/io/files.h"
#include "common/status/status_macros.h"
#include "rpc/grpc_status.h"

namespace longlora::server {
namespace {

constexpr absl::string_view kPartialSuffix = ".part";
// What a file system takes as one name.
constexpr size_t kMaxNameBytes = 255;

absl::Status PathInvalid(absl::string_view path, absl::string_view problem) {
  return rpc::MakeError(absl::StatusCode::kInvalidArgument,
                        absl::StrCat("artifact path \"", path, "\" ", problem),
                        {.reason = "PATH_INVALID", .metadata = {{"path", std::string(path)}}});
}

bool IsOnePathComponent(const std::string& id) {
  return common::IsSafeRelativePath(id) && !absl::StrContains(id, '/');
}

}  // namespace

absl::StatusOr<std::unique_ptr<ArtifactStore>> ArtifactStore::Open(const std::string& root,
                                                                   int64_t max_artifact_bytes) {
  LONGLORA_RETURN_IF_ERROR(common::CreateDirectories(root));
  return std::unique_ptr<ArtifactStore>(new ArtifactStore(root, max_artifact_bytes));
}

std::unique_ptr<ArtifactStore> ArtifactStore::OpenToRead(const std::string& root) {
  return std::unique_ptr<ArtifactStore>(new ArtifactStore(root, /*max_artifact_bytes=*/0));
}

absl::StatusOr<std::string> ArtifactStore::RelativePathOf(const ArtifactKey& key) {
  if (!common::IsSafeRelativePath(key.path)) {
    return PathInvalid(key.path, "is not a relative path without \"..\" and control characters");
  }
  if (!IsOnePathComponent(key.job_id) || key.attempt < 1) {
    return PathInvalid(key.path, "belongs to no attempt of a job");
  }
  if (!common::IsSha256Hex(key.sha256)) {
    return PathInvalid(key.path, "has a digest that is not a SHA-256 in lower-case hexadecimal");
  }
  const size_t name_bytes = key.path.size() - (key.path.rfind('/') + 1);
  if (name_bytes + 1 + key.sha256.size() + kPartialSuffix.size() > kMaxNameBytes) {
    return PathInvalid(key.path, "has a file name that is too long");
  }
  return absl::StrCat(key.job_id, "/", key.attempt, "/", key.path, "@", key.sha256);
}

absl::StatusOr<std::string> ArtifactStore::PathOf(const ArtifactKey& key) const {
  LONGLORA_ASSIGN_OR_RETURN(const std::string path, RelativePathOf(key));
  return absl::StrCat(root_, "/", path);
}

absl::StatusOr<ArtifactState> ArtifactStore::GetState(const ArtifactKey& key) const {
  LONGLORA_ASSIGN_OR_RETURN(const std::string path, PathOf(key));
  absl::StatusOr<int64_t> size = common::FileSize(path);
  if (size.ok()) return ArtifactState{*size, *size == key.size_bytes};
  size = common::FileSize(absl::StrCat(path, kPartialSuffix));
  if (size.ok()) return ArtifactState{*size, false};
  if (absl::IsNotFound(size.status())) return ArtifactState{};
  return size.status();
}

absl::StatusOr<std::unique_ptr<ResumableUpload>> ArtifactStore::Begin(const ArtifactKey& key,
                                                                      int64_t offset) {
  LONGLORA_ASSIGN_OR_RETURN(const std::string path, PathOf(key));
  if (key.size_bytes > max_artifact_bytes_) {
    return rpc::MakeError(
        absl::StatusCode::kResourceExhausted,
        absl::StrCat("artifact ", key.path, " of ", key.size_bytes,
                     " bytes is larger than the server takes, ", max_artifact_bytes_),
        {.reason = "ARTIFACT_TOO_LARGE",
         .metadata = {{"path", key.path}, {"size_bytes", absl::StrCat(key.size_bytes)}}});
  }
  absl::StatusOr<int64_t> stored = common::FileSize(path);
  if (stored.ok() && *stored == key.size_bytes) return std::unique_ptr<ResumableUpload>();
  if (stored.ok() || key.size_bytes < 0) {
    return rpc::MakeError(absl::StatusCode::kInvalidArgument,
                          absl::StrCat("artifact ", key.path, ": size_bytes ", key.size_bytes,
                                       " does not belong to this digest"),
                          {.reason = "SIZE_MISMATCH", .metadata = {{"path", key.path}}});
  }
  UploadTarget target;
  target.root = root_;
  target.final_path = path;
  target.partial_path = absl::StrCat(path, kPartialSuffix);
  target.size_bytes = key.size_bytes;
  target.sha256 = key.sha256;
  return ResumableUpload::Begin(std::move(target), offset);
}

absl::StatusOr<std::unique_ptr<ChunkReader>> ArtifactStore::Read(const ArtifactKey& key,
                                                                 int64_t offset) const {
  LONGLORA_ASSIGN_OR_RETURN(const std::string path, PathOf(key));
  absl::StatusOr<std::unique_ptr<ChunkReader>> reader = ChunkReader::Open(path, offset);
  if (absl::IsNotFound(reader.status())) {
    return rpc::MakeError(absl::StatusCode::kNotFound,
                          absl::StrCat("artifact ", key.path, " is not stored"),
                          {.reason = "ARTIFACT_NOT_FOUND", .metadata = {{"path", key.path}}});
  }
  return reader;
}

absl::Status ArtifactStore::Remove(const ArtifactKey& key) {
  LONGLORA_ASSIGN_OR_RETURN(const std::string path, PathOf(key));
  if (unlink(path.c_str()) != 0 && errno != ENOENT) {
    return common::ErrnoStatus(errno, "remove", path);
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<std::string>> ArtifactStore::ListJobs() const {
  std::vector<std::string> ids;
  std::error_code error;
  std::filesystem::directory_iterator entry(root_, error);
  for (const std::filesystem::directory_iterator end; !error && entry != end;
       entry.increment(error)) {
    ids.push_back(entry->path().filename().string());
  }
  if (error) return common::ErrnoStatus(error.value(), "list", root_);
  return ids;
}

absl::Status ArtifactStore::RemoveJob(const std::string& job_id) {
  if (!IsOnePathComponent(job_id)) return PathInvalid(job_id, "is not the id of a job");
  return common::RemoveAll(absl::StrCat(root_, "/", job_id));
}

}  // namespace longlora::server
