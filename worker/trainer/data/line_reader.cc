#include "worker/trainer/data/line_reader.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/io/files.h"
#include "common/status/status_macros.h"

namespace longlora::trainer {
namespace {

constexpr size_t kBlockBytes = size_t{1} << 20;

}  // namespace

LineReader::LineReader(std::string path, common::UniqueFd fd, int64_t line_bytes_max)
    : path_(std::move(path)), fd_(std::move(fd)), line_bytes_max_(line_bytes_max) {}

absl::StatusOr<LineReader> LineReader::Open(const std::string& path, int64_t line_bytes_max) {
  common::UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.ok()) return common::ErrnoStatus(errno, "open", path);
  return LineReader(path, std::move(fd), line_bytes_max);
}

std::string LineReader::place() const { return absl::StrCat(path_, " line ", line_number_); }

absl::Status LineReader::Fill() {
  buffer_.resize(kBlockBytes);
  next_ = 0;
  ssize_t size;
  do {
    size = read(fd_.get(), buffer_.data(), buffer_.size());
  } while (size < 0 && errno == EINTR);
  if (size < 0) return common::ErrnoStatus(errno, "read", path_);
  buffer_.resize(static_cast<size_t>(size));
  at_end_ = size == 0;
  return absl::OkStatus();
}

absl::StatusOr<bool> LineReader::Next(std::string& line) {
  line.clear();
  ++line_number_;
  while (true) {
    if (next_ == buffer_.size()) LONGLORA_RETURN_IF_ERROR(Fill());
    if (at_end_) return !line.empty();
    const char* begin = buffer_.data() + next_;
    const size_t left = buffer_.size() - next_;
    const void* end = std::memchr(begin, '\n', left);
    const size_t size =
        end == nullptr ? left : static_cast<size_t>(static_cast<const char*>(end) - begin);
    if (static_cast<int64_t>(line.size() + size) > line_bytes_max_) {
      return absl::InvalidArgumentError(
          absl::StrCat(place(), ": longer than ", line_bytes_max_,
                       " bytes: split the document into several lines"));
    }
    line.append(begin, size);
    next_ += size + (end == nullptr ? 0 : 1);
    if (end != nullptr) return true;
  }
}

}  // namespace longlora::trainer
