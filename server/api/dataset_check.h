// Reads an uploaded dataset file once before a job is accepted that needs it: is it there, does it
// have documents, is every line what its format needs. Streams; holds one line at a time. Of a file
// packed by gzip or zstd, or a Parquet file, it sees only that it is one and not empty. What is
// inside, and whether the tokens fit the model, is the trainer's to judge. Used by submit_check.
// Thread-safe; one check runs at a time.
#ifndef LONGLORA_SERVER_API_DATASET_CHECK_H_
#define LONGLORA_SERVER_API_DATASET_CHECK_H_

#include <map>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "common/trainer_protocol/train_spec.h"
#include "server/artifacts/chunk_reader.h"
#include "server/artifacts/file_store.h"

namespace longlora::server {

// One document: OK, or INVALID_ARGUMENT (without a reason) that says what `format` misses in it.
// `line` is without its line break. Pure.
absl::Status CheckDatasetLine(absl::string_view line, common::DatasetFormat format);

class DatasetCheck {
 public:
  explicit DatasetCheck(const FileStore* files) : files_(files) {}

  // `field` is where the spec names the file, `name` is files/{sha256}. INVALID_ARGUMENT
  // (NAME_INVALID, FILE_INVALID), NOT_FOUND (FILE_NOT_FOUND). A verdict is remembered: content
  // never changes.
  absl::Status Check(const std::string& field, const std::string& name,
                     common::DatasetFormat format) ABSL_LOCKS_EXCLUDED(mutex_, reading_);
  // Whether Check would read the file, because it is there and not yet judged.
  bool NeedsReading(const std::string& name, common::DatasetFormat format)
      ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  using Key = std::pair<std::string, common::DatasetFormat>;  // digest
  // The first problem, starting "line N: " where it has a line; empty: there is none. Blank lines
  // are skipped. An error when the file cannot be read.
  static absl::StatusOr<std::string> FindProblem(ChunkReader& reader, common::DatasetFormat format);

  const FileStore* const files_;
  absl::Mutex
      reading_;  // so that many submits of large files take neither all memory nor all cores
  absl::Mutex mutex_;
  std::map<Key, std::string> problems_ ABSL_GUARDED_BY(mutex_);  // empty: none
};

}  // namespace longlora::server

#endif  // LONGLORA_SERVER_API_DATASET_CHECK_H_
