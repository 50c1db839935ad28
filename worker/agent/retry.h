// Repeats what may succeed later. "Cannot reach" is never "failed": while the server is away a call
// is repeated until it is answered or cancelled.
#ifndef LONGLORA_WORKER_AGENT_RETRY_H_
#define LONGLORA_WORKER_AGENT_RETRY_H_

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "common/time/backoff.h"
#include "worker/agent/cancellation.h"

namespace longlora::worker {

struct RetryPolicy {
  common::BackoffPolicy backoff = {.initial = absl::Milliseconds(200), .maximum = absl::Seconds(3)};
  // Tries in a row that end with an error which is neither transient nor final, like INTERNAL.
  int doubtful_tries = 5;
};

// How an error is to be taken.
enum class ErrorClass { kTransient, kDoubtful, kFinal };
ErrorClass ClassifyError(const absl::Status& status);

// Calls until OK or a final error. CANCELLED as soon as `cancellation` is.
absl::Status RetryCall(const RetryPolicy& policy, Cancellation* cancellation,
                       absl::FunctionRef<absl::Status()> call);

}  // namespace longlora::worker

#endif  // LONGLORA_WORKER_AGENT_RETRY_H_
