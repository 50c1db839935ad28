// Dataset files on this node, by digest, shared between jobs and kept over restarts. A job gets a
// hard link, so that the cache may drop a file at any time. Thread-safe.
#ifndef LONGLORA_WORKER_AGENT_FILE_CACHE_H_
#define LONGLORA_WORKER_AGENT_FILE_CACHE_H_

#include <cstdint>
#include <memory>
#include <set>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "worker/agent/cancellation.h"
#include "worker/agent/retry.h"
#include "worker/agent/server_link.h"

namespace longlora::worker {

class FileCache {
 public:
  // Uses `directory` for itself. `bytes_max`: what it may hold; the least recently used files go
  // first.
  static absl::StatusOr<std::unique_ptr<FileCache>> Open(const std::string& directory,
                                                         int64_t bytes_max, ServerLink* link,
                                                         RetryPolicy retry = {});

  // Makes `destination`, on the same file system, the file `files/{sha256}`, fetched if need be. A
  // cached copy is checked against its digest every time: disks err, and people edit.
  // INVALID_ARGUMENT (INVALID_SPEC) when `name` is none; else as Download.
  absl::Status Provide(const std::string& name, const std::string& destination,
                       Cancellation* cancellation);

 private:
  FileCache(std::string directory, int64_t bytes_max, ServerLink* link, RetryPolicy retry);
  absl::Status Fetch(const std::string& sha256, Cancellation* cancellation);
  bool HasValid(const std::string& sha256);
  void Evict(const std::string& except_sha256);
  absl::Status Claim(const std::string& sha256, Cancellation* cancellation);
  void Release(const std::string& sha256);
  std::string PathOf(const std::string& sha256) const;

  const std::string directory_;
  const int64_t bytes_max_;
  ServerLink* const link_;
  const RetryPolicy retry_;
  absl::Mutex mutex_;
  std::set<std::string> claimed_ ABSL_GUARDED_BY(mutex_);  // being fetched or checked
};

}  // namespace longlora::worker

#endif  // LONGLORA_WORKER_AGENT_FILE_CACHE_H_
