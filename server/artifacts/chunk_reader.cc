#include "server/artifacts/chunk_reader.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "absl/strings/str_cat.h"
#include "common/io/files.h"
#include "rpc/grpc_status.h"

namespace longlora::server {

absl::StatusOr<std::unique_ptr<ChunkReader>> ChunkReader::Open(const std::string& path,
                                                               int64_t offset) {
  common::UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  if (!fd.ok()) return common::ErrnoStatus(errno, "open", path);
  struct stat info;
  if (fstat(fd.get(), &info) != 0) return common::ErrnoStatus(errno, "inspect", path);
  if (offset < 0 || offset > info.st_size) {
    return rpc::MakeError(
        absl::StatusCode::kOutOfRange,
        absl::StrCat("offset ", offset, " is outside the content of ", info.st_size, " bytes"),
        {.reason = "OFFSET_BEYOND_END",
         .metadata = {{"offset", absl::StrCat(offset)},
                      {"size_bytes", absl::StrCat(info.st_size)}}});
  }
  if (lseek(fd.get(), offset, SEEK_SET) < 0) return common::ErrnoStatus(errno, "seek in", path);
  return std::unique_ptr<ChunkReader>(new ChunkReader(path, std::move(fd)));
}

absl::StatusOr<bool> ChunkReader::Next(std::string* chunk) {
  chunk->resize(kMaxChunkBytes);
  while (true) {
    const ssize_t count = read(fd_.get(), chunk->data(), chunk->size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return common::ErrnoStatus(errno, "read", path_);
    chunk->resize(static_cast<size_t>(count));
    return count > 0;
  }
}

}  // namespace longlora::server
