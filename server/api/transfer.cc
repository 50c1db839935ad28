#include "server/api/transfer.h"

#include "absl/strings/str_cat.h"
#include "rpc/grpc_status.h"

namespace longlora::server {
namespace {

constexpr absl::Duration kRetryDelay = absl::Seconds(1);

absl::Status UploadInvalid(absl::string_view message) {
  return rpc::MakeError(absl::StatusCode::kInvalidArgument, message, {.reason = "UPLOAD_INVALID"});
}

}  // namespace

absl::StatusOr<TransferLimit::Slot> TransferLimit::Take() {
  Slot slot(this);
  if (++running_ > max_) {
    return rpc::MakeError(
        absl::StatusCode::kResourceExhausted,
        absl::StrCat(max_, " transfers are running already; try again soon (--max-transfers)"),
        {.reason = "TOO_MANY_TRANSFERS", .retry_delay = kRetryDelay});
  }
  return slot;
}

absl::Status HeaderMissing() { return UploadInvalid("the first message must be the header"); }

absl::Status CheckChunk(bool is_data, size_t size) {
  if (!is_data) return UploadInvalid("every message after the header must be data");
  if (size > static_cast<size_t>(kMaxChunkBytes)) {
    return UploadInvalid(absl::StrCat("a message has at most ", kMaxChunkBytes, " bytes of data"));
  }
  return absl::OkStatus();
}

absl::Status PeerGone() { return absl::CancelledError("the peer ended the stream"); }

}  // namespace longlora::server
