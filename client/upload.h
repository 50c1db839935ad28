// Brings a dataset file to the server, once: a file is named by its SHA-256, so one that is stored
// already costs one call, and a broken upload goes on where it stopped.
#ifndef LONGLORA_CLIENT_UPLOAD_H_
#define LONGLORA_CLIENT_UPLOAD_H_

#include <functional>
#include <string>

#include "absl/status/statusor.h"
#include "client/fine_tune_client.h"

namespace longlora::client {

struct LocalFile {
  std::string path;
  std::string sha256;  // lower-case hexadecimal
  int64_t size_bytes = 0;
};

// `sent_bytes` of the whole are at the server; called at most once a chunk, first before any is
// sent.
using UploadProgress = std::function<void(const LocalFile& file, int64_t sent_bytes)>;

struct UploadResult {
  std::string name;        // files/{sha256}
  int64_t sent_bytes = 0;  // by this call; 0: it was stored already
};

// Reads the file once for its size and digest. INVALID_ARGUMENT when it is missing, not a regular
// file, empty or unreadable: the user named it.
absl::StatusOr<LocalFile> InspectFile(const std::string& path);

// Uploads what the server misses of `file`. Safe to repeat. Errors: INVALID_ARGUMENT (the file
// changed meanwhile: DIGEST_MISMATCH, SIZE_MISMATCH), RESOURCE_EXHAUSTED (FILE_TOO_LARGE),
// UNAVAILABLE after several tries without a byte more.
absl::StatusOr<UploadResult> UploadFile(FineTuneClient& client, const LocalFile& file,
                                        const UploadProgress& progress);

}  // namespace longlora::client

#endif  // LONGLORA_CLIENT_UPLOAD_H_
