#include "server/api/page_token.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/io/sha256.h"
#include "rpc/grpc_status.h"

namespace longlora::server {
namespace {

constexpr int32_t kDefaultPageSize = 50;
constexpr int32_t kMaxPageSize = 1000;

absl::Status PageInvalid(const std::string& field, const std::string& description) {
  return rpc::MakeError(absl::StatusCode::kInvalidArgument, absl::StrCat(field, ": ", description),
                        {.reason = "PAGE_INVALID", .violations = {{field, description}}});
}

// Not a secret: it keeps a token of another list, or of other arguments, from being taken by
// mistake.
std::string Check(absl::string_view arguments, absl::string_view position) {
  return common::Sha256Hex(absl::StrCat(arguments, "\n", position)).substr(0, 16);
}

}  // namespace

absl::StatusOr<int32_t> PageSize(int32_t requested) {
  if (requested < 0) {
    return PageInvalid("page_size", absl::StrCat("must not be negative, is ", requested));
  }
  return requested == 0 ? kDefaultPageSize : std::min(requested, kMaxPageSize);
}

std::string MakePageToken(absl::string_view arguments, int64_t position) {
  const std::string digits = absl::StrCat(position);
  return absl::WebSafeBase64Escape(absl::StrCat(digits, ".", Check(arguments, digits)));
}

absl::StatusOr<int64_t> ParsePageToken(absl::string_view arguments, absl::string_view token) {
  if (token.empty()) return 0;
  std::string plain;
  int64_t position = 0;
  if (token.size() <= 100 && absl::WebSafeBase64Unescape(token, &plain)) {
    const std::pair<std::string, std::string> parts =
        absl::StrSplit(plain, absl::MaxSplits('.', 1));
    if (absl::SimpleAtoi(parts.first, &position) && position > 0 &&
        parts.second == Check(arguments, parts.first)) {
      return position;
    }
  }
  return PageInvalid("page_token",
                     "is not the next_page_token of a page with the same arguments; start again "
                     "without one");
}

}  // namespace longlora::server
