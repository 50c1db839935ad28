// Files that jobs produce: {root}/{job id}/{attempt}/{path}@{sha256}. The digest is part of the
// name, so a file never changes and "is exactly this content stored" needs no other record. Which
// files are a checkpoint or a result is the job store's knowledge, not this one's. Used by
// server/api. Thread-safe.
#ifndef LONGLORA_SERVER_ARTIFACTS_ARTIFACT_STORE_H_
#define LONGLORA_SERVER_ARTIFACTS_ARTIFACT_STORE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/artifacts/chunk_reader.h"
#include "server/artifacts/resumable_upload.h"

namespace longlora::server {

// An artifact of an attempt, as its worker announced it.
struct ArtifactKey {
  std::string job_id;
  int32_t attempt = 0;
  std::string path;  // relative, with slashes
  int64_t size_bytes = 0;
  std::string sha256;  // lower-case hexadecimal
};

struct ArtifactState {
  int64_t received_bytes = 0;
  bool complete = false;
};

class ArtifactStore {
 public:
  // Creates `root` when it is missing. Artifacts larger than `max_artifact_bytes` are refused.
  static absl::StatusOr<std::unique_ptr<ArtifactStore>> Open(const std::string& root,
                                                             int64_t max_artifact_bytes);
  // One that another process keeps, for GetState and Read: nothing is created, also no `root`.
  static std::unique_ptr<ArtifactStore> OpenToRead(const std::string& root);

  // Every method: INVALID_ARGUMENT (PATH_INVALID) for a path, a job id or a digest that could lead
  // anywhere but to a file of this attempt.

  // How much of exactly this content is stored; nothing is 0 bytes, never NOT_FOUND.
  absl::StatusOr<ArtifactState> GetState(const ArtifactKey& key) const;

  // Null when it is already complete. RESOURCE_EXHAUSTED (ARTIFACT_TOO_LARGE), INVALID_ARGUMENT
  // (SIZE_MISMATCH) for a negative size, and the errors of ResumableUpload::Begin.
  absl::StatusOr<std::unique_ptr<ResumableUpload>> Begin(const ArtifactKey& key, int64_t offset);

  // A complete artifact from `offset`. NOT_FOUND (ARTIFACT_NOT_FOUND), OUT_OF_RANGE
  // (OFFSET_BEYOND_END).
  absl::StatusOr<std::unique_ptr<ChunkReader>> Read(const ArtifactKey& key, int64_t offset) const;

  // Removes one artifact; OK when it is not there.
  absl::Status Remove(const ArtifactKey& key);

  // Ids of the jobs that have files here.
  absl::StatusOr<std::vector<std::string>> ListJobs() const;

  // Where an artifact lies below `root`, for copies of the whole.
  static absl::StatusOr<std::string> RelativePathOf(const ArtifactKey& key);

  // Removes everything of a job; OK when there is nothing.
  absl::Status RemoveJob(const std::string& job_id);

 private:
  ArtifactStore(std::string root, int64_t max_artifact_bytes)
      : root_(std::move(root)), max_artifact_bytes_(max_artifact_bytes) {}
  absl::StatusOr<std::string> PathOf(const ArtifactKey& key) const;

  const std::string root_;
  const int64_t max_artifact_bytes_;
};

}  // namespace longlora::server

#endif  // LONGLORA_SERVER_ARTIFACTS_ARTIFACT_STORE_H_
