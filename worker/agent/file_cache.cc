#include "worker/agent/file_cache.h"

#include <errno.h>
#include <fcntl.h>
#include <spdlog/spdlog.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/cleanup/cleanup.h"
#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/io/files.h"
#include "common/io/sha256.h"
#include "common/status/status_macros.h"
#include "common/threads/threads.h"
#include "worker/agent/download.h"
#include "worker/agent/failure.h"

namespace longlora::worker {
namespace {

// How often a waiter looks whether it was cancelled while another attempt fetches the same file.
constexpr absl::Duration kClaimSlice = absl::Milliseconds(500);

}  // namespace

FileCache::FileCache(std::string directory, int64_t bytes_max, ServerLink* link, RetryPolicy retry)
    : directory_(std::move(directory)), bytes_max_(bytes_max), link_(link), retry_(retry) {}

absl::StatusOr<std::unique_ptr<FileCache>> FileCache::Open(const std::string& directory,
                                                           int64_t bytes_max, ServerLink* link,
                                                           RetryPolicy retry) {
  LONGLORA_RETURN_IF_ERROR(common::CreateDirectories(absl::StrCat(directory, "/files")));
  LONGLORA_RETURN_IF_ERROR(common::CreateDirectories(absl::StrCat(directory, "/partial")));
  return absl::WrapUnique(new FileCache(directory, bytes_max, link, retry));
}

std::string FileCache::PathOf(const std::string& sha256) const {
  return absl::StrCat(directory_, "/files/", sha256);
}

absl::Status FileCache::Provide(const std::string& name, const std::string& destination,
                                Cancellation* cancellation) {
  absl::string_view digest_view = name;
  if (!absl::ConsumePrefix(&digest_view, "files/") || !common::IsSha256Hex(digest_view)) {
    return FailureError("INVALID_SPEC",
                        absl::StrCat("a dataset must be files/{sha256}, is \"", name, "\""));
  }
  const std::string sha256(digest_view);
  LONGLORA_RETURN_IF_ERROR(Claim(sha256, cancellation));
  const auto release = absl::MakeCleanup([&] { Release(sha256); });
  if (!HasValid(sha256)) LONGLORA_RETURN_IF_ERROR(Fetch(sha256, cancellation));
  const std::string path = PathOf(sha256);
  utimensat(AT_FDCWD, path.c_str(), nullptr, 0);
  unlink(destination.c_str());
  if (link(path.c_str(), destination.c_str()) != 0) {
    return common::ErrnoStatus(errno, "link", destination);
  }
  return absl::OkStatus();
}

bool FileCache::HasValid(const std::string& sha256) {
  const std::string path = PathOf(sha256);
  const auto digest = common::Sha256File(path);
  if (digest.ok() && *digest == sha256) return true;
  if (digest.ok()) {
    spdlog::warn("cached file {} is damaged and is fetched again", path);
    unlink(path.c_str());
  }
  return false;
}

absl::Status FileCache::Fetch(const std::string& sha256, Cancellation* cancellation) {
  const DownloadTarget target = {.path = PathOf(sha256),
                                 .partial_path = absl::StrCat(directory_, "/partial/", sha256),
                                 .sha256 = sha256};
  const std::string name = absl::StrCat("files/", sha256);
  LONGLORA_RETURN_IF_ERROR(
      Download(target, retry_, cancellation, [&](int64_t offset, ServerLink::OnData on_data) {
        return link_->FetchFile(name, offset, on_data, cancellation);
      }));
  Evict(sha256);
  return absl::OkStatus();
}

void FileCache::Evict(const std::string& except_sha256) {
  struct Item {
    timespec used;
    int64_t bytes;
    std::string path;
  };
  const std::string files = absl::StrCat(directory_, "/files");
  const auto names = common::ListFiles(files);
  if (!names.ok()) return;
  std::vector<Item> items;
  int64_t total = 0;
  for (const std::string& name : *names) {
    struct stat info;
    const std::string path = absl::StrCat(files, "/", name);
    if (stat(path.c_str(), &info) != 0) continue;
    total += info.st_size;
    if (name != except_sha256) items.push_back({info.st_mtim, info.st_size, path});
  }
  std::sort(items.begin(), items.end(), [](const Item& a, const Item& b) {
    return std::pair(a.used.tv_sec, a.used.tv_nsec) < std::pair(b.used.tv_sec, b.used.tv_nsec);
  });
  for (const Item& item : items) {
    if (total <= bytes_max_) return;
    if (unlink(item.path.c_str()) == 0) total -= item.bytes;
  }
}

absl::Status FileCache::Claim(const std::string& sha256, Cancellation* cancellation) {
  absl::MutexLock lock(&mutex_);
  const auto is_free = [&]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return claimed_.count(sha256) == 0; };
  while (!common::AwaitWithTimeout(&mutex_, absl::Condition(&is_free), kClaimSlice)) {
    if (cancellation->cancelled()) return absl::CancelledError("no longer wanted");
  }
  claimed_.insert(sha256);
  return absl::OkStatus();
}

void FileCache::Release(const std::string& sha256) {
  absl::MutexLock lock(&mutex_);
  claimed_.erase(sha256);
}

}  // namespace longlora::worker
