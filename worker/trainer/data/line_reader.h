// Lines of a file, unpacked if need be, one at a time and of bounded length. Called by
// RecordReader. Not thread-safe.
#ifndef LONGLORA_WORKER_TRAINER_DATA_LINE_READER_H_
#define LONGLORA_WORKER_TRAINER_DATA_LINE_READER_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "worker/trainer/data/byte_source.h"

namespace longlora::trainer {

class LineReader {
 public:
  // Errors as in common/io/files.h.
  static absl::StatusOr<LineReader> Open(const std::string& path, int64_t line_bytes_max);

  // Puts the next line, without its line break, into `line`; false at the end. A last line needs no
  // line break. INVALID_ARGUMENT "FILE line N: ..." for a line over the limit and where a packed
  // file is broken; else as in common/io/files.h.
  absl::StatusOr<bool> Next(std::string& line);

  int64_t line_number() const { return line_number_; }  // of the line last returned, from 1
  // "FILE line N".
  std::string PlaceOf(int64_t number) const;

 private:
  LineReader(std::string path, std::unique_ptr<ByteSource> source, int64_t line_bytes_max);
  absl::Status Fill();

  std::string path_;
  std::unique_ptr<ByteSource> source_;
  int64_t line_bytes_max_;
  int64_t line_number_ = 0;
  std::string buffer_;
  size_t next_ = 0;  // first unread byte of buffer_
  bool at_end_ = false;
};

}  // namespace longlora::trainer

#endif  // LONGLORA_WORKER_TRAINER_DATA_LINE_READER_H_
