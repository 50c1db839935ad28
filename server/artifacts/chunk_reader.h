// Reads a stored file from an offset in chunks that fit a message. Used by the downloads of
// server/api. An object belongs to one thread; a file that is deleted meanwhile is still read to
// its end.
#ifndef LONGLORA_SERVER_ARTIFACTS_CHUNK_READER_H_
#define LONGLORA_SERVER_ARTIFACTS_CHUNK_READER_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "common/io/unique_fd.h"

namespace longlora::server {

// The most bytes of data in one message, as the .proto files say.
inline constexpr int64_t kMaxChunkBytes = 1 << 20;

class ChunkReader {
 public:
  // NOT_FOUND; OUT_OF_RANGE (OFFSET_BEYOND_END) when `offset` is negative or greater than the size.
  static absl::StatusOr<std::unique_ptr<ChunkReader>> Open(const std::string& path, int64_t offset);

  // Replaces `chunk` by the next bytes, at most kMaxChunkBytes; false at the end.
  absl::StatusOr<bool> Next(std::string* chunk);

 private:
  ChunkReader(std::string path, common::UniqueFd fd) : path_(std::move(path)), fd_(std::move(fd)) {}
  const std::string path_;
  const common::UniqueFd fd_;
};

}  // namespace longlora::server

#endif  // LONGLORA_SERVER_ARTIFACTS_CHUNK_READER_H_
