#include "client/cli/format.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace longlora::client {

std::string ShortDuration(absl::Duration duration) {
  const int64_t seconds = std::max<int64_t>(0, absl::ToInt64Seconds(duration));
  if (seconds < 60) return absl::StrCat(seconds, "s");
  if (seconds < 3600) return absl::StrFormat("%dm%02ds", seconds / 60, seconds % 60);
  if (seconds < 86400) return absl::StrFormat("%dh%02dm", seconds / 3600, seconds / 60 % 60);
  return absl::StrFormat("%dd%02dh", seconds / 86400, seconds / 3600 % 24);
}

std::string FormatInteger(int64_t value) {
  std::string digits = absl::StrCat(value);
  const int first = value < 0 ? 1 : 0;
  for (int i = static_cast<int>(digits.size()) - 3; i > first; i -= 3) {
    digits.insert(static_cast<size_t>(i), ",");
  }
  return digits;
}

std::string FormatQuantity(double value) {
  static constexpr absl::string_view kUnits[] = {"", "k", "M", "G", "T", "P"};
  size_t unit = 0;
  // 999.5 already reads as 1000.
  while (std::abs(value) >= 999.5 && unit + 1 < std::size(kUnits)) {
    value /= 1000.0;
    ++unit;
  }
  const double size = std::abs(value);
  const int decimals = unit == 0 && value == std::floor(value) ? 0
                       : size < 9.995                          ? 2
                       : size < 99.95                          ? 1
                                                               : 0;
  return absl::StrFormat("%.*f%s", decimals, value, kUnits[unit]);
}

std::string FormatBytes(int64_t bytes) {
  const std::string quantity = FormatQuantity(static_cast<double>(bytes));
  const bool has_unit =
      !quantity.empty() && std::isalpha(static_cast<unsigned char>(quantity.back())) != 0;
  if (!has_unit) return absl::StrCat(quantity, " B");
  return absl::StrCat(quantity.substr(0, quantity.size() - 1), " ",
                      quantity.substr(quantity.size() - 1), "B");
}

std::string FormatLoss(double loss) { return absl::StrFormat("%.4f", loss); }

std::string DateAndTime(absl::Time time, absl::TimeZone zone) {
  return absl::FormatTime("%Y-%m-%d %H:%M:%S", time, zone);
}

absl::Time ToTime(const google::protobuf::Timestamp& timestamp) {
  return absl::FromUnixSeconds(timestamp.seconds()) + absl::Nanoseconds(timestamp.nanos());
}

std::string Printable(absl::string_view text) {
  std::string result;
  result.reserve(text.size());
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '\t' || c == '\n') {
      result.push_back(' ');
    } else {
      result.push_back(byte < 0x20 || byte == 0x7f ? '?' : c);
    }
  }
  return result;
}

int DisplayWidth(absl::string_view text) {
  return static_cast<int>(std::count_if(text.begin(), text.end(), [](char c) {
    return (static_cast<unsigned char>(c) & 0xc0) != 0x80;  // not a continuation byte
  }));
}

}  // namespace longlora::client
