// Durable files. Errors name the path: NOT_FOUND, PERMISSION_DENIED, RESOURCE_EXHAUSTED (disk full
// or quota), else UNAVAILABLE with the system's words. Free functions, safe from any thread.
#ifndef LONGLORA_COMMON_IO_FILES_H_
#define LONGLORA_COMMON_IO_FILES_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace longlora::common {

// The Status for a system call on `path` that failed with `error` (an errno).
absl::Status ErrnoStatus(int error, absl::string_view what, absl::string_view path);

// The whole content; OUT_OF_RANGE when the file is larger than `max_bytes`.
absl::StatusOr<std::string> ReadFile(const std::string& path, int64_t max_bytes);

// Writes all of `data` at the place where `fd` stands; `path` is for the error.
absl::Status WriteAll(int fd, absl::string_view data, const std::string& path);

// Replaces `path` as a whole: after a crash it holds either the old or the new content. When OK is
// returned the content survives a power loss (write, fsync, rename, fsync of the directory).
absl::Status AtomicWriteFile(const std::string& path, absl::string_view content);

// Makes renames and creations in `directory` survive a power loss.
absl::Status FsyncDirectory(const std::string& directory);

// Creates `path` and its parents, mode 0700 for the new ones; OK when it is there already.
absl::Status CreateDirectories(const std::string& path);

// Removes `path` and everything below it; OK when it is not there. Follows no symbolic link.
absl::Status RemoveAll(const std::string& path);

// Size in bytes of a regular file.
absl::StatusOr<int64_t> FileSize(const std::string& path);

// Paths of all regular files below `directory`, relative to it, sorted.
absl::StatusOr<std::vector<std::string>> ListFiles(const std::string& directory);

// Whether `path` is relative, not empty, in normal form and stays inside: no "..", ".", "//",
// leading slash, NUL or control character; at most 1024 bytes.
bool IsSafeRelativePath(absl::string_view path);

}  // namespace longlora::common

#endif  // LONGLORA_COMMON_IO_FILES_H_
