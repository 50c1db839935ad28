// Brings a file from the server to this node: resumable over broken streams and over restarts of
// the worker, checked by digest, moved into place as a whole. Free function.
#ifndef LONGLORA_WORKER_AGENT_DOWNLOAD_H_
#define LONGLORA_WORKER_AGENT_DOWNLOAD_H_

#include <cstdint>
#include <string>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "worker/agent/cancellation.h"
#include "worker/agent/retry.h"
#include "worker/agent/server_link.h"

namespace longlora::worker {

struct DownloadTarget {
  std::string path;          // where it shall lie
  std::string partial_path;  // where it grows, on the same file system
  std::string sha256;        // of the whole
};

// Asks the server for the bytes from `offset` on.
using FetchFrom = absl::FunctionRef<absl::Status(int64_t offset, ServerLink::OnData on_data)>;

// DATA_LOSS (TRANSFER_FAILED) when the content keeps having another digest; else as RetryCall and
// common/io/files.h. A partial file is left for the next try, but never a wrong `path`.
absl::Status Download(const DownloadTarget& target, const RetryPolicy& policy,
                      Cancellation* cancellation, FetchFrom fetch);

}  // namespace longlora::worker

#endif  // LONGLORA_WORKER_AGENT_DOWNLOAD_H_
