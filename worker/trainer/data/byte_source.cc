#include "worker/trainer/data/byte_source.h"

#include <fcntl.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/io/files.h"
#include "common/io/unique_fd.h"
#include "common/status/status_macros.h"

namespace longlora::trainer {
namespace {

constexpr size_t kBlockBytes = size_t{256} << 10;
constexpr int64_t kUncheckedBytes = int64_t{1} << 30;
// zstd files may ask for a window of any size; 128 MiB is what `zstd --long` makes.
constexpr int kWindowLogMax = 27;

absl::StatusOr<common::UniqueFd> OpenFile(const std::string& path) {
  common::UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.ok()) return common::ErrnoStatus(errno, "open", path);
  return fd;
}

class PlainSource : public ByteSource {
 public:
  PlainSource(std::string path, common::UniqueFd fd) : path_(std::move(path)), fd_(std::move(fd)) {}

  absl::StatusOr<size_t> Read(char* data, size_t size) override {
    ssize_t count;
    do {
      count = read(fd_.get(), data, size);
    } while (count < 0 && errno == EINTR);
    if (count < 0) return common::ErrnoStatus(errno, "read", path_);
    return static_cast<size_t>(count);
  }

 private:
  const std::string path_;
  common::UniqueFd fd_;
};

// Keeps a block of packed bytes and counts what goes in and out.
class PackedSource : public ByteSource {
 public:
  explicit PackedSource(std::unique_ptr<ByteSource> packed) : packed_(std::move(packed)) {
    block_.resize(kBlockBytes);
  }

 protected:
  size_t left() const { return end_ - next_; }
  const char* next() const { return block_.data() + next_; }
  void Take(size_t bytes) { next_ += bytes; }

  // Makes left() positive, unless the file is at its end.
  absl::Status Fill() {
    if (left() > 0) return absl::OkStatus();
    next_ = 0;
    LONGLORA_ASSIGN_OR_RETURN(end_, packed_->Read(block_.data(), block_.size()));
    num_packed_ += static_cast<int64_t>(end_);
    return absl::OkStatus();
  }

  absl::StatusOr<size_t> Give(size_t bytes) {
    num_unpacked_ += static_cast<int64_t>(bytes);
    if (num_unpacked_ > kUncheckedBytes && num_unpacked_ / kExpansionMax > num_packed_) {
      return absl::InvalidArgumentError(
          absl::StrCat("the packed data expands more than ", kExpansionMax,
                       " times: no text does, so this is taken for a decompression bomb"));
    }
    return bytes;
  }

 private:
  std::unique_ptr<ByteSource> packed_;
  std::string block_;
  size_t next_ = 0;
  size_t end_ = 0;
  int64_t num_packed_ = 0;
  int64_t num_unpacked_ = 0;
};

class GzipSource : public PackedSource {
 public:
  explicit GzipSource(std::unique_ptr<ByteSource> packed) : PackedSource(std::move(packed)) {
    constexpr int kGzipOnly = 16;
    ready_ = inflateInit2(&stream_, MAX_WBITS + kGzipOnly) == Z_OK;
  }
  ~GzipSource() override { inflateEnd(&stream_); }

  absl::StatusOr<size_t> Read(char* data, size_t size) override {
    if (!ready_) return absl::ResourceExhaustedError("no memory to unpack gzip data");
    size_t given = 0;
    while (given == 0) {
      LONGLORA_RETURN_IF_ERROR(Fill());
      if (left() == 0) {
        if (between_members_) return size_t{0};
        return absl::InvalidArgumentError("the gzip data ends before its end");
      }
      // A file may be several gzip files one after another.
      if (std::exchange(between_members_, false)) inflateReset(&stream_);
      stream_.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(next()));
      stream_.avail_in = static_cast<uInt>(left());
      stream_.next_out = reinterpret_cast<Bytef*>(data);
      stream_.avail_out = static_cast<uInt>(std::min(size, kBlockBytes));
      const size_t room = stream_.avail_out;
      const int result = inflate(&stream_, Z_NO_FLUSH);
      Take(left() - stream_.avail_in);
      given = room - stream_.avail_out;
      if (result == Z_STREAM_END) {
        between_members_ = true;
      } else if (result != Z_OK && result != Z_BUF_ERROR) {
        return absl::InvalidArgumentError(
            absl::StrCat("broken gzip data: ", stream_.msg == nullptr ? "damaged" : stream_.msg));
      }
    }
    return Give(given);
  }

 private:
  z_stream stream_ = {};
  bool ready_ = false;
  bool between_members_ = false;
};

class ZstdSource : public PackedSource {
 public:
  explicit ZstdSource(std::unique_ptr<ByteSource> packed)
      : PackedSource(std::move(packed)), stream_(ZSTD_createDCtx()) {
    if (stream_ != nullptr) ZSTD_DCtx_setParameter(stream_, ZSTD_d_windowLogMax, kWindowLogMax);
  }
  ~ZstdSource() override { ZSTD_freeDCtx(stream_); }

  absl::StatusOr<size_t> Read(char* data, size_t size) override {
    if (stream_ == nullptr) return absl::ResourceExhaustedError("no memory to unpack zstd data");
    ZSTD_outBuffer out = {data, size, 0};
    while (out.pos == 0) {
      LONGLORA_RETURN_IF_ERROR(Fill());
      const bool at_end = left() == 0;
      if (at_end && between_frames_) return size_t{0};
      ZSTD_inBuffer in = {next(), left(), 0};
      const size_t result = ZSTD_decompressStream(stream_, &out, &in);
      if (ZSTD_isError(result)) {
        return absl::InvalidArgumentError(
            absl::StrCat("broken zstd data: ", ZSTD_getErrorName(result)));
      }
      Take(in.pos);
      between_frames_ = result == 0;
      if (at_end && out.pos == 0) {
        return absl::InvalidArgumentError("the zstd data ends before its end");
      }
    }
    return Give(out.pos);
  }

 private:
  ZSTD_DCtx* stream_;
  bool between_frames_ = false;
};

}  // namespace

Container ContainerOf(absl::string_view first_bytes) {
  // RFC 1952, RFC 8878 (a frame, or one to skip) and the Parquet format.
  if (absl::StartsWith(first_bytes, "\x1f\x8b")) return Container::kGzip;
  if (absl::StartsWith(first_bytes, "\x28\xb5\x2f\xfd")) return Container::kZstd;
  if (first_bytes.size() >= 4 && (first_bytes[0] & '\xf0') == '\x50' &&
      first_bytes.substr(1, 3) == "\x2a\x4d\x18") {
    return Container::kZstd;
  }
  if (absl::StartsWith(first_bytes, "PAR1")) return Container::kParquet;
  return Container::kPlain;
}

absl::StatusOr<Container> ContainerOfFile(const std::string& path) {
  LONGLORA_ASSIGN_OR_RETURN(common::UniqueFd fd, OpenFile(path));
  PlainSource file(path, std::move(fd));
  char bytes[4];
  size_t size = 0;
  while (size < sizeof(bytes)) {
    LONGLORA_ASSIGN_OR_RETURN(const size_t count, file.Read(bytes + size, sizeof(bytes) - size));
    if (count == 0) break;
    size += count;
  }
  return ContainerOf(absl::string_view(bytes, size));
}

absl::StatusOr<std::unique_ptr<ByteSource>> ByteSource::Open(const std::string& path) {
  LONGLORA_ASSIGN_OR_RETURN(const Container container, ContainerOfFile(path));
  LONGLORA_ASSIGN_OR_RETURN(common::UniqueFd fd, OpenFile(path));
  auto plain = std::make_unique<PlainSource>(path, std::move(fd));
  switch (container) {
    case Container::kGzip:
      return std::make_unique<GzipSource>(std::move(plain));
    case Container::kZstd:
      return std::make_unique<ZstdSource>(std::move(plain));
    case Container::kPlain:
      return std::unique_ptr<ByteSource>(std::move(plain));
    case Container::kParquet:
      break;
  }
  return absl::InternalError("a Parquet file was opened as lines");
}

}  // namespace longlora::trainer
