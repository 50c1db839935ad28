// Cuts what a non-blocking descriptor delivers into lines of bounded length. Not thread-safe.
#ifndef LONGLORA_WORKER_SUPERVISOR_LINE_READER_H_
#define LONGLORA_WORKER_SUPERVISOR_LINE_READER_H_

#include <cstddef>
#include <string>

#include "absl/functional/function_ref.h"
#include "absl/strings/string_view.h"

namespace longlora::worker {

class LineReader {
 public:
  // A line without its break. `cut`: the line was longer than allowed, this is its beginning.
  using OnLine = absl::FunctionRef<void(absl::string_view line, bool cut)>;

  // `line_bytes_max`: what is kept of a line; the rest of it is thrown away as it comes.
  explicit LineReader(size_t line_bytes_max) : line_bytes_max_(line_bytes_max) {}

  // Takes in what `fd` has, but at most about `budget` bytes, so that one flooding writer starves
  // nobody. False at the end of the stream, after the last unfinished line was delivered.
  bool ReadAvailable(int fd, size_t budget, OnLine on_line);

 private:
  void Take(absl::string_view data, OnLine on_line);
  void Deliver(OnLine on_line);

  const size_t line_bytes_max_;
  std::string line_;
  bool cut_ = false;
};

}  // namespace longlora::worker

#endif  // LONGLORA_WORKER_SUPERVISOR_LINE_READER_H_
