#include "server/api/unary_calls.h"

#include "absl/strings/str_cat.h"
#include "rpc/grpc_status.h"

namespace longlora::server {
namespace {

// A call takes some milliseconds, so by then there is room.
constexpr absl::Duration kRetryDelay = absl::Milliseconds(500);

}  // namespace

absl::Status UnaryCalls::Enter(size_t message_bytes) {
  if (static_cast<int64_t>(message_bytes) > max_message_bytes_) {
    return rpc::MakeError(
        absl::StatusCode::kInvalidArgument,
        absl::StrCat("the request has ", message_bytes, " bytes; this server takes at most ",
                     max_message_bytes_, " (--max-message-bytes)"),
        {.reason = "MESSAGE_TOO_LARGE",
         .metadata = {{"max_message_bytes", absl::StrCat(max_message_bytes_)}}});
  }
  if (++in_flight_ <= max_calls_) return absl::OkStatus();
  --in_flight_;
  return rpc::MakeError(
      absl::StatusCode::kResourceExhausted,
      absl::StrCat("the server is busy with ", max_calls_, " calls; try again soon (--max-calls)"),
      {.reason = "TOO_MANY_CALLS", .retry_delay = kRetryDelay});
}

}  // namespace longlora::server
