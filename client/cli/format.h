// Numbers, times and foreign text as people read them. Pure functions.
#ifndef LONGLORA_CLIENT_CLI_FORMAT_H_
#define LONGLORA_CLIENT_CLI_FORMAT_H_

#include <google/protobuf/timestamp.pb.h>

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace longlora::client {

// The two largest units: "45s", "3m12s", "2h05m", "4d03h". Negative counts as 0.
std::string ShortDuration(absl::Duration duration);

// 1,234,567.
std::string FormatInteger(int64_t value);

// Three figures: "950", "12.3k", "134M", "1.10G".
std::string FormatQuantity(double value);

// Decimal units: "950 B", "12.3 kB", "1.10 GB".
std::string FormatBytes(int64_t bytes);

// Losses and the like, four decimals; "nan" and "inf" as they are.
std::string FormatLoss(double loss);

// "2026-11-23 04:05:06" in `zone`.
std::string DateAndTime(absl::Time time, absl::TimeZone zone);

absl::Time ToTime(const google::protobuf::Timestamp& timestamp);

// `text` without control characters (escape sequences of a hostile or careless log line must not
// reach the terminal); tabs become blanks, other control characters '?'.
std::string Printable(absl::string_view text);

// Columns that UTF-8 `text` takes, counting one a code point.
int DisplayWidth(absl::string_view text);

}  // namespace longlora::client

#endif  // LONGLORA_CLIENT_CLI_FORMAT_H_
