// The header of a safetensors file: names, types, shapes and byte ranges. Pure functions over
// bytes, no file access and no torch; safetensors.cc and the fuzzer call them.
#ifndef LONGLORA_WORKER_TRAINER_CHECKPOINT_SAFETENSORS_HEADER_H_
#define LONGLORA_WORKER_TRAINER_CHECKPOINT_SAFETENSORS_HEADER_H_

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace longlora::trainer {

enum class SafetensorsType { kF64, kF32, kF16, kBf16, kI64, kI32, kI16, kI8, kU8, kBool };

// Bytes of one element.
int64_t ElementSize(SafetensorsType type);
// As the format spells it: "F32", "BF16", ...
absl::string_view TypeName(SafetensorsType type);

struct SafetensorsEntry {
  SafetensorsType type = SafetensorsType::kF32;
  std::vector<int64_t> shape;
  int64_t begin = 0;  // bytes from the end of the header
  int64_t end = 0;
};

struct SafetensorsHeader {
  std::map<std::string, SafetensorsEntry> entries;
  std::map<std::string, std::string> metadata;
  int64_t data_offset = 0;  // bytes from the start of the file to the first tensor
};

inline constexpr int64_t kSafetensorsHeaderMax =
    100'000'000;  // bytes, as the reference library has it

// Parses the first bytes of a file of `file_size` bytes; `prefix` must reach to the end of the
// header or of the file. Refuses, naming the tensor: a header that is too long, not JSON or has
// doubled keys, an unknown type (8-bit floats and packed ones too), a negative or overflowing
// shape, byte ranges that overlap, leave holes or do not equal shape x type, and a file that is
// shorter or longer than the ranges say. Always INVALID_ARGUMENT.
absl::StatusOr<SafetensorsHeader> ParseSafetensorsHeader(absl::string_view prefix,
                                                         int64_t file_size);

// Length field and JSON, padded with blanks so that the data starts at a multiple of 8. `order`
// lists the entries as their data follows; begin and end must already be set.
std::string FormatSafetensorsHeader(
    const std::vector<std::pair<std::string, SafetensorsEntry>>& order,
    const std::map<std::string, std::string>& metadata);

}  // namespace longlora::trainer

#endif  // LONGLORA_WORKER_TRAINER_CHECKPOINT_SAFETENSORS_HEADER_H_
