#include "worker/trainer/checkpoint/staged_directory.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <set>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/io/files.h"
#include "common/io/unique_fd.h"
#include "common/status/status_macros.h"

namespace longlora::trainer {
namespace {

std::string ParentOf(const std::string& path) {
  const std::string parent = std::filesystem::path(path).parent_path().string();
  return parent.empty() ? "." : parent;
}

absl::Status FsyncFile(const std::string& path) {
  const common::UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.ok()) return common::ErrnoStatus(errno, "cannot open", path);
  if (fsync(fd.get()) != 0) return common::ErrnoStatus(errno, "cannot fsync", path);
  return absl::OkStatus();
}

// Puts `from` in the place of `to`, in one step where the file system can exchange two names.
absl::Status Replace(const std::string& from, const std::string& to) {
  if (rename(from.c_str(), to.c_str()) == 0) return absl::OkStatus();
  if (errno != ENOTEMPTY && errno != EEXIST)
    return common::ErrnoStatus(errno, "cannot rename to", to);
  if (renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), RENAME_EXCHANGE) == 0) {
    return common::RemoveAll(from);
  }
  if (errno != EINVAL && errno != ENOSYS) return common::ErrnoStatus(errno, "cannot replace", to);
  const std::string old = absl::StrCat(from, ".replaced");
  LONGLORA_RETURN_IF_ERROR(common::RemoveAll(old));
  if (rename(to.c_str(), old.c_str()) != 0 || rename(from.c_str(), to.c_str()) != 0) {
    return common::ErrnoStatus(errno, "cannot replace", to);
  }
  return common::RemoveAll(old);
}

}  // namespace

StagedDirectory::StagedDirectory(std::string target, std::string path)
    : target_(std::move(target)), path_(std::move(path)) {}

StagedDirectory::StagedDirectory(StagedDirectory&& other) noexcept
    : target_(std::move(other.target_)), path_(std::exchange(other.path_, "")) {}

StagedDirectory::~StagedDirectory() {
  // Nobody is left to tell; the next Create removes what this cannot.
  if (!path_.empty()) (void)common::RemoveAll(path_);
}

absl::StatusOr<StagedDirectory> StagedDirectory::Create(const std::string& target) {
  const std::filesystem::path clean = std::filesystem::path(target).lexically_normal();
  const std::string name = (clean.has_filename() ? clean : clean.parent_path()).filename().string();
  const std::string whole = (clean.has_filename() ? clean : clean.parent_path()).string();
  const std::string staging = absl::StrCat(ParentOf(whole), "/.", name, ".partial");
  LONGLORA_RETURN_IF_ERROR(common::RemoveAll(staging));
  LONGLORA_RETURN_IF_ERROR(common::CreateDirectories(staging));
  return StagedDirectory(whole, staging);
}

absl::Status StagedDirectory::Sync() const {
  LONGLORA_ASSIGN_OR_RETURN(const std::vector<std::string> files, common::ListFiles(path_));
  std::set<std::string> folders = {path_};
  for (const std::string& file : files) {
    const std::string whole = absl::StrCat(path_, "/", file);
    LONGLORA_RETURN_IF_ERROR(FsyncFile(whole));
    for (std::string folder = ParentOf(whole); folder.size() > path_.size();
         folder = ParentOf(folder)) {
      folders.insert(folder);
    }
  }
  for (const std::string& folder : folders)
    LONGLORA_RETURN_IF_ERROR(common::FsyncDirectory(folder));
  return absl::OkStatus();
}

absl::Status StagedDirectory::Commit() {
  LONGLORA_RETURN_IF_ERROR(Sync());
  LONGLORA_RETURN_IF_ERROR(Replace(path_, target_));
  path_.clear();
  return common::FsyncDirectory(ParentOf(target_));
}

}  // namespace longlora::trainer
