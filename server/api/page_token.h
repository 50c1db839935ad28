// Pages of the List methods (AIP-158). A token is opaque to callers and valid only with the
// arguments it was made for. Pure functions.
#ifndef LONGLORA_SERVER_API_PAGE_TOKEN_H_
#define LONGLORA_SERVER_API_PAGE_TOKEN_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace longlora::server {

// 50 for 0, at most 1000; INVALID_ARGUMENT (PAGE_INVALID) when negative.
absl::StatusOr<int32_t> PageSize(int32_t requested);

// `arguments` names the method and everything that must not change from page to page; `position` is
// where the next page starts, at least 1.
std::string MakePageToken(absl::string_view arguments, int64_t position);

// The position; 0 for an empty token, the first page. INVALID_ARGUMENT (PAGE_INVALID) when the
// token was not made by MakePageToken for these arguments.
absl::StatusOr<int64_t> ParsePageToken(absl::string_view arguments, absl::string_view token);

}  // namespace longlora::server

#endif  // LONGLORA_SERVER_API_PAGE_TOKEN_H_
