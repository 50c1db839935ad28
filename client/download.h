// Brings a job's results or one of its checkpoints into a directory. A file appears under its name
// only when it is whole and its SHA-256 is right; until then it grows as NAME.partial, from which a
// broken download goes on, in this call or in a later one.
#ifndef LONGLORA_CLIENT_DOWNLOAD_H_
#define LONGLORA_CLIENT_DOWNLOAD_H_

#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "client/fine_tune_client.h"

namespace longlora::client {

// `received_bytes` of `artifact` lie on this machine.
using DownloadProgress = std::function<void(const v1::Artifact& artifact, int64_t received_bytes)>;

struct DownloadSummary {
  int64_t files = 0;           // in the directory now
  int64_t files_present = 0;   // of them, those that were there already
  int64_t received_bytes = 0;  // by this call
};

// Downloads `artifacts` of `job` to directory/{artifact.path}, creating directories. Refuses paths
// that leave the directory before touching the disk (INVALID_ARGUMENT). Other errors: DATA_LOSS
// (the digest is wrong twice), UNAVAILABLE after several tries without a byte more,
// RESOURCE_EXHAUSTED (disk full), PERMISSION_DENIED, UNKNOWN with the system's words for every
// other fault of the local disk.
absl::StatusOr<DownloadSummary> Download(FineTuneClient& client, const std::string& job,
                                         const std::vector<v1::Artifact>& artifacts,
                                         const std::string& directory,
                                         const DownloadProgress& progress);

}  // namespace longlora::client

#endif  // LONGLORA_CLIENT_DOWNLOAD_H_
