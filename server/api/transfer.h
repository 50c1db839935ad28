// Streams of file contents, the same for dataset files and artifacts: receive an upload, send a
// stored file, and how many of them may run at once. Used by the services. Templates over the
// message types, which carry `data` in chunks of at most kMaxChunkBytes.
#ifndef LONGLORA_SERVER_API_TRANSFER_H_
#define LONGLORA_SERVER_API_TRANSFER_H_

#include <grpcpp/server_context.h>
#include <grpcpp/support/sync_stream.h>

#include <atomic>
#include <functional>
#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/status/status_macros.h"
#include "server/artifacts/chunk_reader.h"
#include "server/artifacts/resumable_upload.h"

namespace longlora::server {

// A transfer holds a thread for as long as its peer likes; the bound keeps threads for everybody
// else. Thread-safe.
class TransferLimit {
 public:
  explicit TransferLimit(int max) : max_(max) {}

  class Slot {
   public:
    explicit Slot(TransferLimit* limit) : limit_(limit) {}
    Slot(Slot&& other) noexcept : limit_(std::exchange(other.limit_, nullptr)) {}
    ~Slot() {
      if (limit_ != nullptr) --limit_->running_;
    }

   private:
    TransferLimit* limit_;
  };

  // RESOURCE_EXHAUSTED (TOO_MANY_TRANSFERS) when `max` are running.
  absl::StatusOr<Slot> Take();

 private:
  const int max_;
  std::atomic<int> running_ = 0;
};

// The errors of a stream that does not keep to its protocol: INVALID_ARGUMENT (UPLOAD_INVALID).
absl::Status HeaderMissing();
absl::Status CheckChunk(bool is_data, size_t size);
// CANCELLED: the peer went away.
absl::Status PeerGone();

// Reads `data` messages until the peer has sent all, then runs `before_finish` and puts the file in
// place. What came before a break stays for the next upload to go on from.
template <typename Request>
absl::Status Receive(grpc::ServerContext* context, grpc::ServerReader<Request>* reader,
                     ResumableUpload& upload, const std::function<absl::Status()>& before_finish) {
  Request request;
  while (reader->Read(&request)) {
    LONGLORA_RETURN_IF_ERROR(
        CheckChunk(request.part_case() == Request::kData, request.data().size()));
    LONGLORA_RETURN_IF_ERROR(upload.Append(request.data()));
  }
  if (context->IsCancelled()) return PeerGone();
  LONGLORA_RETURN_IF_ERROR(before_finish());
  return upload.Finish();
}

// Sends what `content` holds.
template <typename Response>
absl::Status Send(ChunkReader& content, grpc::ServerWriter<Response>* writer) {
  Response response;
  while (true) {
    LONGLORA_ASSIGN_OR_RETURN(const bool more, content.Next(response.mutable_data()));
    if (!more) return absl::OkStatus();
    if (!writer->Write(response)) return PeerGone();
  }
}

}  // namespace longlora::server

#endif  // LONGLORA_SERVER_API_TRANSFER_H_
