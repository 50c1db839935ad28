// Examples of a dataset file as JSON text, one after another: lines of a JSON-lines file, packed or
// not, or rows of a Parquet file. Called by the dataset reader. Not thread-safe.
#ifndef LONGLORA_WORKER_TRAINER_DATA_RECORD_READER_H_
#define LONGLORA_WORKER_TRAINER_DATA_RECORD_READER_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"

namespace longlora::trainer {

class RecordReader {
 public:
  // What the file is, is told by its first bytes. NOT_FOUND: no such file. INVALID_ARGUMENT: it
  // starts as a Parquet file and is none.
  static absl::StatusOr<std::unique_ptr<RecordReader>> Open(const std::string& path,
                                                            int64_t record_bytes_max);

  virtual ~RecordReader() = default;
  // Puts the next one into `record`; false at the end. INVALID_ARGUMENT "FILE line N: ..." when one
  // is over the limit or the file is broken there; else as in common/io/files.h.
  virtual absl::StatusOr<bool> Next(std::string& record) = 0;
  virtual int64_t number() const = 0;  // of the line or row last returned, from 1
  // "FILE line N" or "FILE row N".
  virtual std::string PlaceOf(int64_t number) const = 0;
};

}  // namespace longlora::trainer

#endif  // LONGLORA_WORKER_TRAINER_DATA_RECORD_READER_H_
