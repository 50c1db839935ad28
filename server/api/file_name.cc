#include "server/api/file_name.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/io/sha256.h"
#include "rpc/grpc_status.h"

namespace longlora::server {

absl::StatusOr<std::string> ParseFileName(absl::string_view name) {
  absl::string_view digest = name;
  if (absl::ConsumePrefix(&digest, "files/") && common::IsSha256Hex(digest)) {
    return std::string(digest);
  }
  // A wrong name may be long; enough of it is shown to be recognized.
  const std::string shown(name.substr(0, 100));
  return rpc::MakeError(
      absl::StatusCode::kInvalidArgument,
      absl::StrCat("\"", shown, "\" is not files/ and a SHA-256 in lower-case hexadecimal"),
      {.reason = "NAME_INVALID",
       .metadata = {{"name", shown}},
       .violations = {{"name", "must be files/{sha256}"}}});
}

}  // namespace longlora::server
