#include "worker/trainer/data/line_reader.h"

#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status/annotate.h"
#include "common/status/status_macros.h"

namespace longlora::trainer {
namespace {

constexpr size_t kBlockBytes = size_t{1} << 20;

}  // namespace

LineReader::LineReader(std::string path, std::unique_ptr<ByteSource> source, int64_t line_bytes_max)
    : path_(std::move(path)), source_(std::move(source)), line_bytes_max_(line_bytes_max) {}

absl::StatusOr<LineReader> LineReader::Open(const std::string& path, int64_t line_bytes_max) {
  LONGLORA_ASSIGN_OR_RETURN(std::unique_ptr<ByteSource> source, ByteSource::Open(path));
  return LineReader(path, std::move(source), line_bytes_max);
}

std::string LineReader::PlaceOf(int64_t number) const {
  return absl::StrCat(path_, " line ", number);
}

absl::Status LineReader::Fill() {
  buffer_.resize(kBlockBytes);
  next_ = 0;
  const absl::StatusOr<size_t> size = source_->Read(buffer_.data(), buffer_.size());
  if (absl::IsInvalidArgument(size.status())) {
    return common::Annotate(size.status(), PlaceOf(line_number_));
  }
  LONGLORA_RETURN_IF_ERROR(size.status());
  buffer_.resize(*size);
  at_end_ = *size == 0;
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
          absl::StrCat(PlaceOf(line_number_), ": longer than ", line_bytes_max_,
                       " bytes: split the document into several lines"));
    }
    line.append(begin, size);
    next_ += size + (end == nullptr ? 0 : 1);
    if (end != nullptr) return true;
  }
}

}  // namespace longlora::trainer
