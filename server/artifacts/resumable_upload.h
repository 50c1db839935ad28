// Receives one file whose size and SHA-256 are known beforehand, in pieces and over several
// attempts. Until the last byte is verified it lies beside its target as a partial file; then it
// appears there as a whole. Used by FileStore and ArtifactStore. An object belongs to one thread; a
// lock on the partial file keeps a second upload of the same content out, also one of another
// process.
#ifndef LONGLORA_SERVER_ARTIFACTS_RESUMABLE_UPLOAD_H_
#define LONGLORA_SERVER_ARTIFACTS_RESUMABLE_UPLOAD_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/io/sha256.h"
#include "common/io/unique_fd.h"

namespace longlora::server {

// Where an upload goes and what it must turn out to be.
struct UploadTarget {
  std::string root;          // directory that exists; both paths lie below it
  std::string final_path;    // where the complete file appears
  std::string partial_path;  // where it grows; on the same file system
  int64_t size_bytes = 0;
  std::string sha256;  // lower-case hexadecimal
};

class ResumableUpload {
 public:
  // Opens the partial file. `offset` 0 starts over; any other must be the number of bytes it holds,
  // else OUT_OF_RANGE (OFFSET_INVALID). UNAVAILABLE (UPLOAD_BUSY) while another upload has it open.
  // Resuming reads what is there once, for the digest.
  static absl::StatusOr<std::unique_ptr<ResumableUpload>> Begin(UploadTarget target,
                                                                int64_t offset);

  // Adds the next bytes. INVALID_ARGUMENT (SIZE_MISMATCH), with nothing added, when they go beyond
  // the announced size. What was added stays when the upload breaks off.
  absl::Status Append(absl::string_view data);

  // Verifies the whole and puts it in place; when OK is returned it survives a power loss.
  // INVALID_ARGUMENT: SIZE_MISMATCH (bytes are missing; the partial file is kept), DIGEST_MISMATCH
  // (the partial file is removed, the next upload starts over).
  absl::Status Finish();

  int64_t received_bytes() const { return received_bytes_; }

 private:
  ResumableUpload(UploadTarget target, common::UniqueFd fd)
      : target_(std::move(target)), fd_(std::move(fd)) {}
  absl::Status Resume(int64_t offset);
  absl::Status MoveIntoPlace();

  const UploadTarget target_;
  common::UniqueFd fd_;
  common::Sha256 digest_;
  int64_t received_bytes_ = 0;
};

}  // namespace longlora::server

#endif  // LONGLORA_SERVER_ARTIFACTS_RESUMABLE_UPLOAD_H_
