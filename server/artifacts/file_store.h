// Dataset files, stored once by content: {root}/{sha256}, and what is still arriving in
// {root}/partial/{sha256}/{announced size}. Used by FileService, WorkerService and the check of
// datasets. Thread-safe: it keeps no state outside the directory. Does not look into files.
#ifndef LONGLORA_SERVER_ARTIFACTS_FILE_STORE_H_
#define LONGLORA_SERVER_ARTIFACTS_FILE_STORE_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/artifacts/chunk_reader.h"
#include "server/artifacts/resumable_upload.h"

namespace longlora::server {

struct StoredFile {
  int64_t size_bytes = 0;      // of the whole
  int64_t received_bytes = 0;  // equals size_bytes when complete
  bool complete = false;
};

class FileStore {
 public:
  // Creates `root` when it is missing. Files larger than `max_file_bytes` are refused.
  static absl::StatusOr<std::unique_ptr<FileStore>> Open(const std::string& root,
                                                         int64_t max_file_bytes);

  // `sha256` is lower-case hexadecimal everywhere. NOT_FOUND (FILE_NOT_FOUND).
  absl::StatusOr<StoredFile> Get(const std::string& sha256) const;

  // Null when the file is already complete, and then the announced size must be right, else
  // INVALID_ARGUMENT (SIZE_MISMATCH). INVALID_ARGUMENT (SIZE_MISMATCH) below one byte,
  // RESOURCE_EXHAUSTED (FILE_TOO_LARGE), and the errors of ResumableUpload::Begin.
  absl::StatusOr<std::unique_ptr<ResumableUpload>> Begin(const std::string& sha256,
                                                         int64_t size_bytes, int64_t offset);

  // A complete file from `offset`. NOT_FOUND (FILE_NOT_FOUND), OUT_OF_RANGE (OFFSET_BEYOND_END).
  absl::StatusOr<std::unique_ptr<ChunkReader>> Read(const std::string& sha256,
                                                    int64_t offset) const;

 private:
  FileStore(std::string root, int64_t max_file_bytes)
      : root_(std::move(root)), max_file_bytes_(max_file_bytes) {}
  std::string PathOf(const std::string& sha256) const { return root_ + "/" + sha256; }
  std::string PartialDirectory(const std::string& sha256) const {
    return root_ + "/partial/" + sha256;
  }

  const std::string root_;
  const int64_t max_file_bytes_;
};

}  // namespace longlora::server

#endif  // LONGLORA_SERVER_ARTIFACTS_FILE_STORE_H_
