#include "worker/agent/event_uploader.h"

#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "common/status/status_macros.h"
#include "rpc/grpc_status.h"

namespace longlora::worker {
namespace {

// How long the thread sleeps when nothing happens; an event or the end wakes it.
constexpr absl::Duration kIdleSlice = absl::Seconds(10);

// After a gap was refused: what the server has, or an error when the spool cannot go on from there.
absl::Status ResolveGap(const absl::Status& status, EventSpool* spool, int64_t first_sent) {
  const rpc::ErrorDetails details = rpc::GetErrorDetails(status);
  int64_t acknowledged = 0;
  const auto found = details.metadata.find("acknowledged_sequence");
  if (details.reason != "SEQUENCE_GAP" || found == details.metadata.end() ||
      !absl::SimpleAtoi(found->second, &acknowledged)) {
    return status;
  }
  LONGLORA_RETURN_IF_ERROR(spool->CheckFollows(acknowledged));
  // The same batch would be refused again: only progress makes another try worth while.
  if (acknowledged < first_sent) return status;
  spool->Acknowledge(acknowledged);
  return absl::OkStatus();
}

}  // namespace

absl::Status SendPendingEvents(const AttemptId& id, EventSpool* spool, ServerLink* link,
                               const RetryPolicy& policy, Cancellation* cancellation) {
  while (true) {
    LONGLORA_ASSIGN_OR_RETURN(const std::vector<seam::AttemptEvent> batch, spool->NextBatch());
    if (batch.empty()) return absl::OkStatus();
    int64_t acknowledged = 0;
    const absl::Status status = RetryCall(policy, cancellation, [&]() -> absl::Status {
      LONGLORA_ASSIGN_OR_RETURN(acknowledged, link->ReportEvents(id, batch, cancellation));
      return absl::OkStatus();
    });
    if (status.ok()) {
      spool->Acknowledge(acknowledged);
    } else {
      LONGLORA_RETURN_IF_ERROR(ResolveGap(status, spool, batch.front().sequence()));
    }
  }
}

EventUploader::EventUploader(AttemptId id, EventSpool* spool, ServerLink* link, RetryPolicy retry,
                             std::function<void(const absl::Status&)> on_refused)
    : id_(std::move(id)),
      spool_(spool),
      link_(link),
      retry_(retry),
      on_refused_(std::move(on_refused)),
      thread_([this] { Run(); }) {}

EventUploader::~EventUploader() {
  cancellation_.Cancel();
  spool_->Close();
  thread_.join();
}

void EventUploader::Run() {
  while (!cancellation_.cancelled()) {
    const absl::Status status = SendPendingEvents(id_, spool_, link_, retry_, &cancellation_);
    if (cancellation_.cancelled()) return;
    if (!status.ok()) {
      on_refused_(status);
      return;
    }
    spool_->WaitForPending(kIdleSlice);
  }
}

}  // namespace longlora::worker
