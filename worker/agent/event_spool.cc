#include "worker/agent/event_spool.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <utility>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "common/io/files.h"
#include "common/status/status_macros.h"
#include "common/threads/threads.h"

namespace longlora::worker {
namespace {

using ::longlora::common::ErrnoStatus;

constexpr int64_t kHeaderBytes = 8;
// An event is at most a text of 8 KiB; anything larger in the file is not ours.
constexpr uint32_t kRecordBytesMax = 1 << 20;

// CRC-32C (RFC 3720, appendix B.4), reflected polynomial 0x82F63B78.
uint32_t Crc32c(absl::string_view data) {
  static const std::array<uint32_t, 256> kTable = [] {
    std::array<uint32_t, 256> table{};
    for (uint32_t i = 0; i < 256; ++i) {
      uint32_t value = i;
      for (int bit = 0; bit < 8; ++bit) value = (value >> 1) ^ ((value & 1) ? 0x82F63B78u : 0u);
      table[i] = value;
    }
    return table;
  }();
  uint32_t crc = ~0u;
  for (const char c : data) crc = kTable[(crc ^ static_cast<unsigned char>(c)) & 0xFF] ^ (crc >> 8);
  return ~crc;
}

std::string EncodeRecord(absl::string_view body) {
  const uint32_t header[2] = {htole32(static_cast<uint32_t>(body.size())), htole32(Crc32c(body))};
  return absl::StrCat(absl::string_view(reinterpret_cast<const char*>(header), sizeof(header)),
                      body);
}

}  // namespace

EventSpool::EventSpool(std::string path, common::UniqueFd file, SpoolLimits limits,
                       WorkerMetrics* metrics)
    : path_(std::move(path)), file_(std::move(file)), limits_(limits), metrics_(metrics) {}

EventSpool::~EventSpool() { metrics_->AddSpooledEvents(-pending_count()); }

absl::StatusOr<std::unique_ptr<EventSpool>> EventSpool::Open(const std::string& path,
                                                             int64_t acknowledged,
                                                             SpoolLimits limits,
                                                             WorkerMetrics* metrics) {
  common::UniqueFd file(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!file.ok()) return ErrnoStatus(errno, "open", path);
  auto spool = absl::WrapUnique(new EventSpool(path, std::move(file), limits, metrics));
  LONGLORA_RETURN_IF_ERROR(spool->Recover(acknowledged));
  return spool;
}

absl::Status EventSpool::Recover(int64_t acknowledged) {
  absl::MutexLock lock(&mutex_);
  struct stat info;
  if (fstat(file_.get(), &info) != 0) return ErrnoStatus(errno, "look at", path_);
  last_sequence_ = acknowledged;
  while (end_ + kHeaderBytes <= info.st_size) {
    LONGLORA_ASSIGN_OR_RETURN(const std::string header, ReadAt(end_, kHeaderBytes));
    uint32_t numbers[2];
    memcpy(numbers, header.data(), sizeof(numbers));
    const uint32_t size = le32toh(numbers[0]);
    // Zeros, which a file system may leave at the end after a power cut, would pass as an empty
    // record.
    if (size == 0 || size > kRecordBytesMax || end_ + kHeaderBytes + size > info.st_size) break;
    LONGLORA_ASSIGN_OR_RETURN(const std::string body, ReadAt(end_ + kHeaderBytes, size));
    seam::AttemptEvent event;
    if (Crc32c(body) != le32toh(numbers[1]) || !event.ParseFromString(body)) break;
    if (!pending_.empty() && event.sequence() != last_sequence_ + 1) break;
    pending_.push_back({.sequence = event.sequence(), .offset = end_ + kHeaderBytes, .size = size});
    pending_bytes_ += size;
    metrics_->AddSpooledEvents(1);
    last_sequence_ = event.sequence();
    end_ += kHeaderBytes + size;
  }
  // The torn end must not lie before what is appended next.
  if (ftruncate(file_.get(), end_) != 0) return ErrnoStatus(errno, "cut", path_);
  return absl::OkStatus();
}

absl::StatusOr<std::string> EventSpool::ReadAt(int64_t offset, int64_t size) const {
  std::string bytes(static_cast<size_t>(size), '\0');
  int64_t done = 0;
  while (done < size) {
    const ssize_t got =
        pread(file_.get(), bytes.data() + done, static_cast<size_t>(size - done), offset + done);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return ErrnoStatus(errno, "read", path_);
    if (got == 0) return absl::DataLossError(absl::StrCat(path_, ": shorter than it was"));
    done += got;
  }
  return bytes;
}

absl::Status EventSpool::Append(const api::JobEvent& event) {
  absl::MutexLock lock(&mutex_);
  seam::AttemptEvent numbered;
  numbered.set_sequence(last_sequence_ + 1);
  *numbered.mutable_event() = event;
  const std::string body = numbered.SerializeAsString();
  const auto size = static_cast<int64_t>(body.size());
  if (pending_bytes_ + size > limits_.pending_bytes) {
    return absl::ResourceExhaustedError(absl::StrCat(
        path_, ": more than ", limits_.pending_bytes,
        " bytes of events wait for the server; it is away for too long or the trainer floods"));
  }
  const std::string record = EncodeRecord(body);
  int64_t done = 0;
  while (done < static_cast<int64_t>(record.size())) {
    const ssize_t written =
        pwrite(file_.get(), record.data() + done, record.size() - done, end_ + done);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return ErrnoStatus(errno, "append to", path_);
    done += written;
  }
  pending_.push_back(
      {.sequence = numbered.sequence(), .offset = end_ + kHeaderBytes, .size = size});
  pending_bytes_ += size;
  metrics_->AddSpooledEvents(1);
  end_ += kHeaderBytes + size;
  ++last_sequence_;
  synced_ = false;
  return absl::OkStatus();
}

absl::StatusOr<std::vector<seam::AttemptEvent>> EventSpool::NextBatch() {
  absl::MutexLock lock(&mutex_);
  if (pending_.empty()) return std::vector<seam::AttemptEvent>();
  // A number that the server has seen must never be given to another event.
  if (!synced_) {
    if (fdatasync(file_.get()) != 0) return ErrnoStatus(errno, "sync", path_);
    synced_ = true;
  }
  std::vector<seam::AttemptEvent> batch;
  int64_t bytes = 0;
  for (const Entry& entry : pending_) {
    if (batch.size() == limits_.batch_events) break;
    bytes += entry.size;
    if (bytes > limits_.batch_bytes && !batch.empty()) break;
    LONGLORA_ASSIGN_OR_RETURN(const std::string body, ReadAt(entry.offset, entry.size));
    if (!batch.emplace_back().ParseFromString(body)) {
      return absl::DataLossError(absl::StrCat(path_, ": event ", entry.sequence, " is damaged"));
    }
  }
  return batch;
}

void EventSpool::Acknowledge(int64_t sequence) {
  absl::MutexLock lock(&mutex_);
  while (!pending_.empty() && pending_.front().sequence <= sequence) {
    pending_bytes_ -= pending_.front().size;
    pending_.pop_front();
    metrics_->AddSpooledEvents(-1);
  }
  if (pending_.empty() && end_ > limits_.compact_bytes && ftruncate(file_.get(), 0) == 0) end_ = 0;
}

absl::Status EventSpool::CheckFollows(int64_t sequence) const {
  absl::MutexLock lock(&mutex_);
  const int64_t first = pending_.empty() ? last_sequence_ + 1 : pending_.front().sequence;
  if (sequence + 1 >= first) return absl::OkStatus();
  return absl::DataLossError(absl::StrCat("the server has events up to ", sequence,
                                          " but acknowledged up to ", first - 1,
                                          " before: it lost some"));
}

int64_t EventSpool::pending_count() const {
  absl::MutexLock lock(&mutex_);
  return static_cast<int64_t>(pending_.size());
}

void EventSpool::WaitForPending(absl::Duration timeout) {
  absl::MutexLock lock(&mutex_);
  common::AwaitWithTimeout(&mutex_, absl::Condition(this, &EventSpool::HasPendingOrClosed),
                           timeout);
}

bool EventSpool::WaitUntilEmpty(absl::Duration timeout) {
  absl::MutexLock lock(&mutex_);
  return common::AwaitWithTimeout(&mutex_, absl::Condition(this, &EventSpool::IsEmpty), timeout);
}

void EventSpool::Close() {
  absl::MutexLock lock(&mutex_);
  closed_ = true;
}

}  // namespace longlora::worker
