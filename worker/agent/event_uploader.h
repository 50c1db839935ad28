// Sends an attempt's events from its spool to the server, in order, until acknowledged. One thread
// an attempt.
#ifndef LONGLORA_WORKER_AGENT_EVENT_UPLOADER_H_
#define LONGLORA_WORKER_AGENT_EVENT_UPLOADER_H_

#include <functional>

#include "absl/status/status.h"
#include "common/threads/threads.h"
#include "worker/agent/attempt_id.h"
#include "worker/agent/cancellation.h"
#include "worker/agent/event_spool.h"
#include "worker/agent/retry.h"
#include "worker/agent/server_link.h"

namespace longlora::worker {

// Sends what is pending now; OK when all of it is acknowledged. CANCELLED, or a final error of the
// server.
absl::Status SendPendingEvents(const AttemptId& id, EventSpool* spool, ServerLink* link,
                               const RetryPolicy& policy, Cancellation* cancellation);

class EventUploader {
 public:
  // `on_refused` is called at most once, on the uploader's thread, with the final error that ended
  // it.
  EventUploader(AttemptId id, EventSpool* spool, ServerLink* link, RetryPolicy retry,
                std::function<void(const absl::Status&)> on_refused);
  // Stops at once.
  ~EventUploader();

 private:
  void Run();

  const AttemptId id_;
  EventSpool* const spool_;
  ServerLink* const link_;
  const RetryPolicy retry_;
  const std::function<void(const absl::Status&)> on_refused_;
  Cancellation cancellation_;
  common::Thread thread_;
};

}  // namespace longlora::worker

#endif  // LONGLORA_WORKER_AGENT_EVENT_UPLOADER_H_
