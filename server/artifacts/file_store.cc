#include "server/artifacts/file_store.h"

#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/io/files.h"
#include "common/status/status_macros.h"
#include "rpc/grpc_status.h"

namespace longlora::server {
namespace {

absl::Status NotFound(const std::string& sha256) {
  return rpc::MakeError(absl::StatusCode::kNotFound,
                        absl::StrCat("files/", sha256, " is not stored; upload it first"),
                        {.reason = "FILE_NOT_FOUND", .metadata = {{"name", "files/" + sha256}}});
}

absl::Status SizeMismatch(int64_t size_bytes, absl::string_view problem) {
  return rpc::MakeError(
      absl::StatusCode::kInvalidArgument, absl::StrCat("size_bytes ", size_bytes, ": ", problem),
      {.reason = "SIZE_MISMATCH", .metadata = {{"size_bytes", absl::StrCat(size_bytes)}}});
}

}  // namespace

absl::StatusOr<std::unique_ptr<FileStore>> FileStore::Open(const std::string& root,
                                                           int64_t max_file_bytes) {
  LONGLORA_RETURN_IF_ERROR(common::CreateDirectories(root));
  return std::unique_ptr<FileStore>(new FileStore(root, max_file_bytes));
}

absl::StatusOr<StoredFile> FileStore::Get(const std::string& sha256) const {
  if (absl::StatusOr<int64_t> size = common::FileSize(PathOf(sha256)); size.ok()) {
    return StoredFile{*size, *size, true};
  }
  // Partial files are named by their announced size; the one that got furthest is worth going on
  // with.
  const std::string directory = PartialDirectory(sha256);
  absl::StatusOr<std::vector<std::string>> partials = common::ListFiles(directory);
  if (!partials.ok()) return NotFound(sha256);
  StoredFile best;
  for (const std::string& name : *partials) {
    StoredFile found;
    absl::StatusOr<int64_t> received = common::FileSize(directory + "/" + name);
    if (!received.ok() || !absl::SimpleAtoi(name, &found.size_bytes)) continue;
    found.received_bytes = *received;
    if (best.size_bytes == 0 || found.received_bytes > best.received_bytes) best = found;
  }
  if (best.size_bytes == 0) return NotFound(sha256);
  return best;
}

absl::StatusOr<std::unique_ptr<ResumableUpload>> FileStore::Begin(const std::string& sha256,
                                                                  int64_t size_bytes,
                                                                  int64_t offset) {
  if (size_bytes < 1) return SizeMismatch(size_bytes, "a file has at least one byte");
  if (size_bytes > max_file_bytes_) {
    return rpc::MakeError(
        absl::StatusCode::kResourceExhausted,
        absl::StrCat("a file of ", size_bytes, " bytes is larger than the server ", "takes, ",
                     max_file_bytes_, " (--max-file-bytes)"),
        {.reason = "FILE_TOO_LARGE",
         .metadata = {{"size_bytes", absl::StrCat(size_bytes)},
                      {"max_file_bytes", absl::StrCat(max_file_bytes_)}}});
  }
  if (absl::StatusOr<int64_t> stored = common::FileSize(PathOf(sha256)); stored.ok()) {
    if (*stored == size_bytes) return std::unique_ptr<ResumableUpload>();
    return SizeMismatch(size_bytes, absl::StrCat("the content with this digest has ", *stored));
  }
  UploadTarget target;
  target.root = root_;
  target.final_path = PathOf(sha256);
  target.partial_path = absl::StrCat(PartialDirectory(sha256), "/", size_bytes);
  target.size_bytes = size_bytes;
  target.sha256 = sha256;
  return ResumableUpload::Begin(std::move(target), offset);
}

absl::StatusOr<std::unique_ptr<ChunkReader>> FileStore::Read(const std::string& sha256,
                                                             int64_t offset) const {
  absl::StatusOr<std::unique_ptr<ChunkReader>> reader = ChunkReader::Open(PathOf(sha256), offset);
  if (absl::IsNotFound(reader.status())) return NotFound(sha256);
  return reader;
}

}  // namespace longlora::server
