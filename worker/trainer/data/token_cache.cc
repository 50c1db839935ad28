#include "worker/trainer/data/token_cache.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/io/files.h"
#include "common/status/status_macros.h"

namespace longlora::trainer {
namespace {

namespace fs = std::filesystem;

constexpr char kMagic[16] = {'l', 'o', 'n', 'g', 'l', 'o', 'r', 'a',
                             ' ', 't', 'o', 'k', 'e', 'n', 's', '1'};
constexpr size_t kHexDigits = 64;
constexpr size_t kBufferBytes = size_t{1} << 20;
constexpr char kSuffix[] = ".tokens";
constexpr auto kUnusedMax = std::chrono::hours(14 * 24);

// The first bytes of the file; payload, then records follow. Numbers as the machine has them: a
// cache does not travel.
struct Header {
  char magic[sizeof(kMagic)] = {};
  char key[kHexDigits] = {};
  int64_t num_payload = 0;  // 32-bit numbers, even
  int64_t num_records = 0;
  SkippedDocuments skipped;
  char content_sha256[kHexDigits] = {};  // of payload and records
  char header_sha256[kHexDigits] = {};   // of all above
};
static_assert(sizeof(Header) % alignof(DocumentRecord) == 0);

void SetDigest(char (&field)[kHexDigits], const std::string& digest) {
  std::memcpy(field, digest.data(), kHexDigits);
}

std::string DigestOf(const Header& header) {
  return common::Sha256Hex(
      absl::string_view(reinterpret_cast<const char*>(&header), offsetof(Header, header_sha256)));
}

class Mapping {
 public:
  Mapping(const void* data, size_t size) : data_(data), size_(size) {}
  ~Mapping() { munmap(const_cast<void*>(data_), size_); }
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;

  absl::string_view bytes() const { return {static_cast<const char*>(data_), size_}; }

 private:
  const void* const data_;
  const size_t size_;
};

absl::StatusOr<std::shared_ptr<Mapping>> Map(const std::string& path) {
  common::UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.ok()) return common::ErrnoStatus(errno, "open", path);
  struct stat facts;
  if (fstat(fd.get(), &facts) != 0) return common::ErrnoStatus(errno, "stat", path);
  const auto size = static_cast<size_t>(facts.st_size);
  if (size < sizeof(Header)) return absl::DataLossError(absl::StrCat(path, " is cut short"));
  void* data = mmap(nullptr, size, PROT_READ, MAP_SHARED, fd.get(), 0);
  if (data == MAP_FAILED) return common::ErrnoStatus(errno, "map", path);
  return std::make_shared<Mapping>(data, size);
}

// Best effort: what stays is removed another time.
void RemoveUnused(const std::string& directory) {
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(directory, error)) {
    const std::string name = entry.path().filename().string();
    if (!absl::StrContains(name, kSuffix)) continue;
    std::error_code ignored;
    const fs::file_time_type time = entry.last_write_time(ignored);
    if (!ignored && fs::file_time_type::clock::now() - time > kUnusedMax) {
      fs::remove(entry.path(), ignored);
    }
  }
}

}  // namespace

TokenCacheWriter::TokenCacheWriter(std::string directory, std::string key,
                                   std::string temporary_path, common::UniqueFd fd)
    : directory_(std::move(directory)),
      key_(std::move(key)),
      temporary_path_(std::move(temporary_path)),
      fd_(std::move(fd)) {}

TokenCacheWriter::~TokenCacheWriter() {
  if (!temporary_path_.empty()) unlink(temporary_path_.c_str());
}

absl::Status TokenCacheWriter::Flush() {
  size_t done = 0;
  while (done < buffer_.size()) {
    const ssize_t count = write(fd_.get(), buffer_.data() + done, buffer_.size() - done);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return status_ = common::ErrnoStatus(errno, "write", temporary_path_);
    done += static_cast<size_t>(count);
  }
  buffer_.clear();
  return absl::OkStatus();
}

absl::Status TokenCacheWriter::Append(const void* data, size_t size) {
  const absl::string_view bytes(static_cast<const char*>(data), size);
  sha256_.Update(bytes);
  buffer_.append(bytes.data(), bytes.size());
  return buffer_.size() < kBufferBytes ? absl::OkStatus() : Flush();
}

absl::Status TokenCacheWriter::Add(const Document& document) {
  LONGLORA_RETURN_IF_ERROR(status_);
  records_.push_back(RecordOf(document, num_payload_));
  for (const std::vector<int32_t>* numbers : {&document.ids, &document.labels}) {
    LONGLORA_RETURN_IF_ERROR(Append(numbers->data(), numbers->size() * sizeof(int32_t)));
    num_payload_ += static_cast<int64_t>(numbers->size());
  }
  return absl::OkStatus();
}

absl::Status TokenCacheWriter::Commit(const SkippedDocuments& skipped) {
  LONGLORA_RETURN_IF_ERROR(status_);
  if (num_payload_ % 2 != 0) {  // the records after it hold 64-bit numbers
    constexpr int32_t kFiller = 0;
    LONGLORA_RETURN_IF_ERROR(Append(&kFiller, sizeof(kFiller)));
    ++num_payload_;
  }
  LONGLORA_RETURN_IF_ERROR(Append(records_.data(), records_.size() * sizeof(DocumentRecord)));
  LONGLORA_RETURN_IF_ERROR(Flush());
  Header header;
  std::memcpy(header.magic, kMagic, sizeof(kMagic));
  SetDigest(header.key, key_);
  header.num_payload = num_payload_;
  header.num_records = static_cast<int64_t>(records_.size());
  header.skipped = skipped;
  SetDigest(header.content_sha256, sha256_.HexDigest());
  SetDigest(header.header_sha256, DigestOf(header));
  if (pwrite(fd_.get(), &header, sizeof(header), 0) != ssize_t{sizeof(header)} ||
      fsync(fd_.get()) != 0) {
    return status_ = common::ErrnoStatus(errno, "write", temporary_path_);
  }
  const std::string path = TokenCache(directory_, key_).path();
  if (rename(temporary_path_.c_str(), path.c_str()) != 0) {
    return status_ = common::ErrnoStatus(errno, "rename", path);
  }
  temporary_path_.clear();
  return common::FsyncDirectory(directory_);
}

TokenCache::TokenCache(std::string directory, std::string key)
    : directory_(std::move(directory)), key_(std::move(key)) {}

std::string TokenCache::path() const { return absl::StrCat(directory_, "/", key_, kSuffix); }

TokenCache::Lock TokenCache::TakeTurn() const {
  if (!common::CreateDirectories(directory_).ok()) return Lock();
  const std::string path = absl::StrCat(this->path(), ".lock");
  Lock lock(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!lock.ok()) return lock;
  while (flock(lock.get(), LOCK_EX) != 0 && errno == EINTR) {
  }
  return lock;
}

absl::StatusOr<Documents> TokenCache::Open() const {
  const std::string path = this->path();
  LONGLORA_ASSIGN_OR_RETURN(const std::shared_ptr<Mapping> mapping, Map(path));
  const auto damaged = [&] { return absl::DataLossError(absl::StrCat(path, " is damaged")); };
  Header header;
  std::memcpy(&header, mapping->bytes().data(), sizeof(header));
  if (std::memcmp(header.magic, kMagic, sizeof(kMagic)) != 0 ||
      DigestOf(header) != absl::string_view(header.header_sha256, kHexDigits) ||
      key_ != absl::string_view(header.key, kHexDigits)) {
    return damaged();
  }
  const absl::string_view content = mapping->bytes().substr(sizeof(Header));
  const auto num_payload = static_cast<size_t>(header.num_payload);
  const auto num_records = static_cast<size_t>(header.num_records);
  const size_t payload_bytes = num_payload * sizeof(int32_t);
  if (content.size() != payload_bytes + num_records * sizeof(DocumentRecord) ||
      common::Sha256Hex(content) != absl::string_view(header.content_sha256, kHexDigits)) {
    return damaged();
  }
  utimensat(AT_FDCWD, path.c_str(), nullptr, 0);  // it is in use; see RemoveUnused
  const auto* payload = reinterpret_cast<const int32_t*>(content.data());
  const auto* records = reinterpret_cast<const DocumentRecord*>(content.data() + payload_bytes);
  return Documents(mapping, absl::MakeConstSpan(payload, num_payload),
                   absl::MakeConstSpan(records, num_records), header.skipped);
}

absl::StatusOr<std::unique_ptr<TokenCacheWriter>> TokenCache::Create() const {
  LONGLORA_RETURN_IF_ERROR(common::CreateDirectories(directory_));
  RemoveUnused(directory_);
  std::string temporary_path = absl::StrCat(path(), ".XXXXXX");
  common::UniqueFd fd(mkostemp(temporary_path.data(), O_CLOEXEC));
  if (!fd.ok()) return common::ErrnoStatus(errno, "create", temporary_path);
  auto writer = std::unique_ptr<TokenCacheWriter>(
      new TokenCacheWriter(directory_, key_, std::move(temporary_path), std::move(fd)));
  // The header's place; it is written last.
  writer->buffer_.assign(sizeof(Header), '\0');
  return writer;
}

}  // namespace longlora::trainer
