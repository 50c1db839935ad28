#include "client/upload.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "absl/time/clock.h"
#include "client/resource_name.h"
#include "common/io/files.h"
#include "common/io/sha256.h"
#include "common/io/unique_fd.h"
#include "common/status/annotate.h"
#include "common/status/status_macros.h"
#include "rpc/grpc_status.h"

namespace longlora::client {
namespace {

constexpr int64_t kChunkBytes = 512 << 10;            // the API allows 1 MiB
constexpr int64_t kSlowestBytesPerSecond = 64 << 10;  // slower than this counts as hanging

absl::Status Misnamed(const absl::Status& status) {
  return status.ok() ? status : absl::InvalidArgumentError(status.message());
}

// What the server has of `file`; all zero when nothing.
absl::StatusOr<v1::File> StoredPart(FineTuneClient& client, const LocalFile& file) {
  absl::StatusOr<v1::File> stored = client.GetFile(FileName(file.sha256));
  if (absl::IsNotFound(stored.status())) return v1::File();
  LONGLORA_RETURN_IF_ERROR(stored.status());
  stored->set_received_bytes(
      stored->complete() ? file.size_bytes
                         : std::clamp<int64_t>(stored->received_bytes(), 0, file.size_bytes));
  return stored;
}

// Reads up to `size` bytes at `offset`; short only at the end of the file.
absl::StatusOr<std::string> ReadChunk(int fd, int64_t offset, int64_t size,
                                      const std::string& path) {
  std::string chunk(static_cast<size_t>(size), '\0');
  size_t filled = 0;
  while (filled < chunk.size()) {
    const ssize_t count = pread(fd, chunk.data() + filled, chunk.size() - filled,
                                static_cast<off_t>(offset + static_cast<int64_t>(filled)));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return Misnamed(common::ErrnoStatus(errno, "read", path));
    if (count == 0) break;
    filled += static_cast<size_t>(count);
  }
  chunk.resize(filled);
  return chunk;
}

// One stream from `offset` to the end. An error of the server wins over our own failed write.
absl::Status SendFrom(FineTuneClient& client, const LocalFile& file, int64_t offset,
                      const UploadProgress& progress) {
  common::UniqueFd fd(open(file.path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.ok()) return Misnamed(common::ErrnoStatus(errno, "open", file.path));
  grpc::ClientContext context;
  context.set_deadline(
      absl::ToChronoTime(absl::Now() + client.options().call_deadline +
                         absl::Seconds((file.size_bytes - offset) / kSlowestBytesPerSecond)));
  CancellableCall call(client.cancellation(), &context);
  v1::File response;
  auto stream = client.files().UploadFile(&context, &response);
  v1::UploadFileRequest request;
  request.mutable_header()->set_name(FileName(file.sha256));
  request.mutable_header()->set_size_bytes(file.size_bytes);
  request.mutable_header()->set_offset(offset);
  bool writable = stream->Write(request);
  while (writable && offset < file.size_bytes) {
    absl::StatusOr<std::string> chunk =
        ReadChunk(fd.get(), offset, std::min(kChunkBytes, file.size_bytes - offset), file.path);
    if (!chunk.ok()) {
      context.TryCancel();
      (void)stream->Finish();
      return chunk.status();
    }
    // The file shrank: the server refuses the size, which is the truth.
    if (chunk->empty()) break;
    offset += static_cast<int64_t>(chunk->size());
    request.set_data(*std::move(chunk));
    writable = stream->Write(request);
    if (writable && progress) progress(file, offset);
  }
  if (writable) stream->WritesDone();
  LONGLORA_RETURN_IF_ERROR(client.ToStatus(stream->Finish()));
  if (!response.complete()) {
    return absl::InternalError(
        absl::StrCat("the server says that ", file.path, " is still incomplete"));
  }
  return absl::OkStatus();
}

absl::Status Explain(const absl::Status& status, const LocalFile& file) {
  const std::string reason = rpc::GetErrorDetails(status).reason;
  if (reason == "DIGEST_MISMATCH" || reason == "SIZE_MISMATCH") {
    return common::Annotate(status,
                            absl::StrCat(file.path, " changed while it was uploaded; try again"));
  }
  return common::Annotate(status, absl::StrCat("upload of ", file.path));
}

}  // namespace

absl::StatusOr<LocalFile> InspectFile(const std::string& path) {
  LocalFile file{.path = path, .sha256 = "", .size_bytes = 0};
  const absl::StatusOr<int64_t> size = common::FileSize(path);
  LONGLORA_RETURN_IF_ERROR(Misnamed(size.status()));
  if (*size == 0) return absl::InvalidArgumentError(absl::StrCat(path, " is empty"));
  absl::StatusOr<std::string> digest = common::Sha256File(path);
  LONGLORA_RETURN_IF_ERROR(Misnamed(digest.status()));
  file.size_bytes = *size;
  file.sha256 = *std::move(digest);
  return file;
}

absl::StatusOr<UploadResult> UploadFile(FineTuneClient& client, const LocalFile& file,
                                        const UploadProgress& progress) {
  int64_t first = -1;
  int64_t furthest = -1;
  for (int failures = 0;;) {
    LONGLORA_ASSIGN_OR_RETURN(const v1::File stored, StoredPart(client, file));
    const int64_t offset = stored.received_bytes();
    if (first < 0) first = offset;
    if (progress) progress(file, offset);
    if (stored.complete()) {
      return UploadResult{.name = FileName(file.sha256), .sent_bytes = file.size_bytes - first};
    }
    // Progress earns new patience: only tries without a byte more are counted.
    if (offset > furthest) failures = 0;
    furthest = std::max(furthest, offset);
    const absl::Status status = SendFrom(client, file, offset, progress);
    if (status.ok()) {
      return UploadResult{.name = FileName(file.sha256), .sent_bytes = file.size_bytes - first};
    }
    const bool again =
        MayTryAgain(status) || rpc::GetErrorDetails(status).reason == "OFFSET_INVALID";
    if (!again || ++failures >= client.options().retry.attempts) return Explain(status, file);
    if (!WaitToRetry(client.options().retry.backoff, failures, status, client.cancellation())) {
      return absl::CancelledError("interrupted");
    }
    client.Reconnect();
  }
}

}  // namespace longlora::client
