// The content of a dataset file as a stream of bytes, unpacked if it is a gzip or zstd file, which
// is told by its first bytes and not by its name: uploads have no names. Called by LineReader. Not
// thread-safe.
#ifndef LONGLORA_WORKER_TRAINER_DATA_BYTE_SOURCE_H_
#define LONGLORA_WORKER_TRAINER_DATA_BYTE_SOURCE_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace longlora::trainer {

enum class Container { kPlain, kGzip, kZstd, kParquet };

// By the first bytes of a file (at least four, if it has them).
Container ContainerOf(absl::string_view first_bytes);
// Errors as in common/io/files.h.
absl::StatusOr<Container> ContainerOfFile(const std::string& path);

// What a packed file may become beyond its first GiB: more than this many times its own size is no
// text but a decompression bomb.
inline constexpr int64_t kExpansionMax = 1000;

class ByteSource {
 public:
  // Any container but kParquet. Errors as in common/io/files.h.
  static absl::StatusOr<std::unique_ptr<ByteSource>> Open(const std::string& path);

  virtual ~ByteSource() = default;
  // Up to `size` bytes (> 0) into `data`; 0 at the end. INVALID_ARGUMENT, without the file's name,
  // when a packed stream is broken, cut short or a bomb; else as in common/io/files.h.
  virtual absl::StatusOr<size_t> Read(char* data, size_t size) = 0;
};

}  // namespace longlora::trainer

#endif  // LONGLORA_WORKER_TRAINER_DATA_BYTE_SOURCE_H_
