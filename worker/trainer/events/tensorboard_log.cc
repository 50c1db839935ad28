#include "worker/trainer/events/tensorboard_log.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <bit>
#include <cerrno>
#include <cmath>
#include <utility>
#include <variant>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "common/io/files.h"
#include "common/io/unique_fd.h"

namespace longlora::trainer {
namespace {

// Castagnoli's polynomial, bits reversed (RFC 3720, appendix B.4). A bit at a time: a record has
// some fifty bytes.
uint32_t Crc32c(absl::string_view data) {
  uint32_t crc = ~0u;
  for (const char c : data) {
    crc ^= static_cast<unsigned char>(c);
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0x82f63b78u : 0u);
  }
  return ~crc;
}

template <typename T>
std::string LittleEndian(T value) {
  std::string bytes;
  for (size_t i = 0; i < sizeof(T); ++i) bytes.push_back(static_cast<char>(value >> (8 * i)));
  return bytes;
}

// TFRecord stores checksums rotated and shifted, because the data may hold checksums itself.
std::string MaskedCrc(absl::string_view data) {
  return LittleEndian<uint32_t>(std::rotr(Crc32c(data), 15) + 0xa282ead8u);
}

std::string TfRecord(const std::string& data) {
  const std::string length = LittleEndian<uint64_t>(data.size());
  return length + MaskedCrc(length) + data + MaskedCrc(data);
}

// Protobuf's wire format: a field is a key (number, type) and a value.
std::string Varint(uint64_t value) {
  std::string bytes;
  for (; value >= 0x80; value >>= 7) bytes.push_back(static_cast<char>(value | 0x80));
  bytes.push_back(static_cast<char>(value));
  return bytes;
}

enum WireType { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };

std::string Key(uint64_t number, WireType type) { return Varint(number << 3 | type); }

std::string BytesField(uint64_t number, const std::string& value) {
  return Key(number, kBytes) + Varint(value.size()) + value;
}

struct Scalar {
  const char* tag;
  double value;
};

// Summary.Value: 1 tag, 2 simple_value.
std::string SummaryValue(const Scalar& scalar) {
  return BytesField(1, scalar.tag) + Key(2, kFixed32) +
         LittleEndian(std::bit_cast<uint32_t>(static_cast<float>(scalar.value)));
}

// Event: 1 wall_time in seconds, 2 step; then the field `what`.
std::string Event(absl::Time time, int64_t step, const std::string& what) {
  const double seconds = absl::ToDoubleSeconds(time - absl::UnixEpoch());
  return Key(1, kFixed64) + LittleEndian(std::bit_cast<uint64_t>(seconds)) + Key(2, kVarint) +
         Varint(static_cast<uint64_t>(step)) + what;
}

struct Point {
  int64_t step = 0;
  std::vector<Scalar> scalars;
};

Point PointOf(const common::StepEvent& event) {
  return {event.step,
          {{"train/loss", event.loss},
           {"train/learning_rate", event.learning_rate},
           {"train/grad_norm", event.grad_norm},
           {"train/tokens_per_second", event.tokens_per_second}}};
}

Point PointOf(const common::EvaluationEvent& event) {
  Point point = {event.step,
                 {{"validation/loss", event.loss}, {"validation/perplexity", event.perplexity}}};
  if (event.training_pattern_loss.has_value()) {
    point.scalars.push_back({"validation/fidelity_gap", *event.training_pattern_loss - event.loss});
  }
  return point;
}

template <typename Other>
Point PointOf(const Other&) {
  return {};
}

}  // namespace

absl::Status TensorBoardLog::Add(const decltype(common::TrainerEvent::body)& body) {
  const Point point = std::visit([](const auto& event) { return PointOf(event); }, body);
  if (point.scalars.empty()) return absl::OkStatus();
  std::string summary;
  for (const Scalar& scalar : point.scalars) summary += BytesField(1, SummaryValue(scalar));
  return Append(TfRecord(Event(clock_.Now(), point.step, BytesField(5, summary))));
}

absl::Status TensorBoardLog::Append(const std::string& record) {
  const common::UniqueFd fd(open(path_.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644));
  if (!fd.ok()) return common::ErrnoStatus(errno, "open", path_);
  std::string bytes = record;
  if (lseek(fd.get(), 0, SEEK_END) == 0) {
    bytes = TfRecord(Event(clock_.Now(), 0, BytesField(3, "brain.Event:2"))) + record;
  }
  // One write: what a killed run leaves is whole records.
  const ssize_t written = write(fd.get(), bytes.data(), bytes.size());
  if (written < 0) return common::ErrnoStatus(errno, "write to", path_);
  if (static_cast<size_t>(written) != bytes.size()) {
    return common::ErrnoStatus(ENOSPC, "write to", path_);
  }
  return absl::OkStatus();
}

}  // namespace longlora::trainer
