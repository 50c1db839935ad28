#include "common/io/files.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <system_error>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/io/unique_fd.h"
#include "common/status/status_macros.h"

namespace longlora::common {
namespace {

namespace fs = std::filesystem;

absl::Status WriteDurably(const std::string& path, absl::string_view content) {
  UniqueFd fd(open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  if (!fd.ok()) return ErrnoStatus(errno, "create", path);
  LONGLORA_RETURN_IF_ERROR(WriteAll(fd.get(), content, path));
  if (fsync(fd.get()) != 0) return ErrnoStatus(errno, "fsync", path);
  // close() can report a write error too (NFS, quota).
  if (close(fd.Release()) != 0) return ErrnoStatus(errno, "close", path);
  return absl::OkStatus();
}

}  // namespace

absl::Status ErrnoStatus(int error, absl::string_view what, absl::string_view path) {
  absl::StatusCode code = absl::StatusCode::kUnavailable;
  switch (error) {
    case ENOENT:
    case ENOTDIR:
      code = absl::StatusCode::kNotFound;
      break;
    case EACCES:
    case EPERM:
    case EROFS:
      code = absl::StatusCode::kPermissionDenied;
      break;
    case ENOSPC:
    case EDQUOT:
      code = absl::StatusCode::kResourceExhausted;
      break;
    default:
      break;
  }
  return absl::Status(code, absl::StrCat("cannot ", what, " ", path, ": ", strerror(error)));
}

absl::Status WriteAll(int fd, absl::string_view data, const std::string& path) {
  while (!data.empty()) {
    const ssize_t written = write(fd, data.data(), data.size());
    if (written < 0) {
      if (errno == EINTR) continue;
      return ErrnoStatus(errno, "write", path);
    }
    data.remove_prefix(static_cast<size_t>(written));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> ReadFile(const std::string& path, int64_t max_bytes) {
  UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.ok()) return ErrnoStatus(errno, "open", path);
  std::string content;
  char buffer[1 << 16];
  while (true) {
    const ssize_t count = read(fd.get(), buffer, sizeof buffer);
    if (count < 0) {
      if (errno == EINTR) continue;
      return ErrnoStatus(errno, "read", path);
    }
    if (count == 0) return content;
    if (static_cast<int64_t>(content.size()) + count > max_bytes) {
      return absl::OutOfRangeError(absl::StrCat(path, " is larger than ", max_bytes, " bytes"));
    }
    content.append(buffer, static_cast<size_t>(count));
  }
}

absl::Status AtomicWriteFile(const std::string& path, absl::string_view content) {
  // A leading dot keeps half-written files out of directory listings; the pid keeps two writers
  // apart.
  const fs::path target(path);
  const std::string temporary =
      (target.parent_path() / absl::StrCat(".", target.filename().string(), ".", getpid()))
          .string();
  if (absl::Status status = WriteDurably(temporary, content); !status.ok()) {
    unlink(temporary.c_str());
    return status;
  }
  if (rename(temporary.c_str(), path.c_str()) != 0) {
    const int error = errno;
    unlink(temporary.c_str());
    return ErrnoStatus(error, "rename to", path);
  }
  return FsyncDirectory(target.has_parent_path() ? target.parent_path().string() : ".");
}

absl::Status FsyncDirectory(const std::string& directory) {
  UniqueFd fd(open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd.ok()) return ErrnoStatus(errno, "open directory", directory);
  if (fsync(fd.get()) != 0) return ErrnoStatus(errno, "fsync directory", directory);
  return absl::OkStatus();
}

absl::Status CreateDirectories(const std::string& path) {
  std::string partial;
  for (absl::string_view part : absl::StrSplit(path, '/')) {
    absl::StrAppend(&partial, part, "/");
    if (part.empty() || part == ".") continue;
    if (mkdir(partial.c_str(), 0700) != 0 && errno != EEXIST) {
      return ErrnoStatus(errno, "create directory", partial);
    }
  }
  struct stat info;
  if (stat(path.c_str(), &info) != 0) return ErrnoStatus(errno, "inspect", path);
  if (!S_ISDIR(info.st_mode)) return ErrnoStatus(ENOTDIR, "create directory", path);
  return absl::OkStatus();
}

absl::Status RemoveAll(const std::string& path) {
  std::error_code error;
  fs::remove_all(path, error);
  if (error) return ErrnoStatus(error.value(), "remove", path);
  return absl::OkStatus();
}

absl::StatusOr<int64_t> FileSize(const std::string& path) {
  struct stat info;
  if (stat(path.c_str(), &info) != 0) return ErrnoStatus(errno, "inspect", path);
  if (!S_ISREG(info.st_mode)) {
    return absl::InvalidArgumentError(absl::StrCat(path, " is not a regular file"));
  }
  return static_cast<int64_t>(info.st_size);
}

absl::StatusOr<std::vector<std::string>> ListFiles(const std::string& directory) {
  std::error_code error;
  fs::recursive_directory_iterator it(directory, error);
  if (error) return ErrnoStatus(error.value(), "list", directory);
  std::vector<std::string> files;
  for (const fs::recursive_directory_iterator end; it != end;) {
    if (it->is_regular_file(error) && !error) {
      files.push_back(fs::path(it->path()).lexically_relative(directory).string());
    }
    it.increment(error);
    if (error) return ErrnoStatus(error.value(), "list", directory);
  }
  std::sort(files.begin(), files.end());
  return files;
}

bool IsSafeRelativePath(absl::string_view path) {
  if (path.empty() || path.size() > 1024 || path[0] == '/') return false;
  for (const char c : path) {
    if (absl::ascii_iscntrl(static_cast<unsigned char>(c))) return false;
  }
  for (absl::string_view part : absl::StrSplit(path, '/')) {
    if (part.empty() || part == "." || part == ".." || part.size() > 255) return false;
  }
  return true;
}

}  // namespace longlora::common
