// The words of a job file for each choice. One table an enumeration.
#ifndef LONGLORA_COMMON_TRAINER_PROTOCOL_SPEC_NAMES_H_
#define LONGLORA_COMMON_TRAINER_PROTOCOL_SPEC_NAMES_H_

#include <array>
#include <cstddef>
#include <string>

#include "absl/strings/string_view.h"
#include "common/trainer_protocol/train_spec.h"

namespace longlora::common {

// Indexed by the enumeration's values, which count from 0.
constexpr std::array<const char*, 4> NamesOf(DatasetFormat) {
  return {"text", "instruction", "chat", "tokens"};
}
constexpr std::array<const char*, 2> NamesOf(AttentionPattern) {
  return {"dense", "shifted_sparse"};
}
constexpr std::array<const char*, 5> NamesOf(RopeType) {
  return {"default", "linear", "dynamic", "yarn", "llama3"};
}
constexpr std::array<const char*, 3> NamesOf(Schedule) { return {"constant", "linear", "cosine"}; }
constexpr std::array<const char*, 2> NamesOf(Precision) { return {"bf16", "fp32"}; }
constexpr std::array<const char*, 2> NamesOf(Device) { return {"cpu", "cuda"}; }
constexpr std::array<const char*, 3> NamesOf(LengthPolicy) {
  return {"truncate_prompt", "drop", "error"};
}
constexpr std::array<const char*, 2> NamesOf(ExportWeights) { return {"last", "best"}; }

// "shifted_sparse" for kShiftedSparse.
template <typename Enum>
std::string ToName(Enum value) {
  return NamesOf(value)[static_cast<size_t>(value)];
}

// The inverse; false and `value` unchanged when `name` is none of them.
template <typename Enum>
bool FromName(absl::string_view name, Enum& value) {
  const auto names = NamesOf(value);
  for (size_t i = 0; i < names.size(); ++i) {
    if (name == names[i]) {
      value = static_cast<Enum>(i);
      return true;
    }
  }
  return false;
}

}  // namespace longlora::common

#endif  // LONGLORA_COMMON_TRAINER_PROTOCOL_SPEC_NAMES_H_
