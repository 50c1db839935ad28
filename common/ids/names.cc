#include "common/ids/names.h"

#include <algorithm>

#include "absl/strings/ascii.h"

namespace longlora::common {
namespace {

constexpr size_t kNameSizeMax = 63;

bool IsLowerOrDigit(char c) {
  const auto byte = static_cast<unsigned char>(c);
  return absl::ascii_islower(byte) || absl::ascii_isdigit(byte);
}

// A name of lower-case letters, digits and, but for its ends, `others`.
bool IsName(absl::string_view text, absl::string_view others) {
  return !text.empty() && text.size() <= kNameSizeMax && IsLowerOrDigit(text.front()) &&
         IsLowerOrDigit(text.back()) && std::all_of(text.begin(), text.end(), [&](char c) {
           return IsLowerOrDigit(c) || others.find(c) != absl::string_view::npos;
         });
}

bool IsLabelPart(absl::string_view text) {
  constexpr absl::string_view kOthers = "._/-";
  return !text.empty() && text.size() <= kNameSizeMax &&
         std::all_of(text.begin(), text.end(), [&](char c) {
           return absl::ascii_isalnum(static_cast<unsigned char>(c)) ||
                  kOthers.find(c) != absl::string_view::npos;
         });
}

}  // namespace

bool IsJobId(absl::string_view text) {
  return text.size() >= 4 && absl::ascii_islower(static_cast<unsigned char>(text.front())) &&
         IsName(text, "-");
}

bool IsWorkerId(absl::string_view text) { return IsName(text, "-."); }

bool IsQueueName(absl::string_view text) { return IsName(text, "-"); }

bool IsWorkerLabel(absl::string_view text) {
  const size_t equals = text.find('=');
  return equals != absl::string_view::npos && IsLabelPart(text.substr(0, equals)) &&
         IsLabelPart(text.substr(equals + 1));
}

}  // namespace longlora::common
