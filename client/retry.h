// Trying again while the server cannot be reached, or says when to come again: bounded, with
// growing, jittered delays. Only UNAVAILABLE (AIP-194) and refusals with google.rpc.RetryInfo are
// tried again, and only by callers whose call may safely be made twice.
#ifndef LONGLORA_CLIENT_RETRY_H_
#define LONGLORA_CLIENT_RETRY_H_

#include <functional>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "client/cancellation.h"
#include "common/time/backoff.h"

namespace longlora::client {

struct RetryPolicy {
  int attempts = 4;  // calls in all, at least 1
  common::BackoffPolicy backoff = {.initial = absl::Milliseconds(200), .maximum = absl::Seconds(3)};
};

// Uniform in [0, 1), for jitter. Thread-safe.
double RandomFraction();

// Whether the same call may succeed later: UNAVAILABLE, or refused for now.
bool MayTryAgain(const absl::Status& status);

// Makes `call` until MayTryAgain is false of its status, or policy.attempts calls were made. Waits
// in between; returns CANCELLED when `cancellation` (may be null) ends a wait.
absl::Status Retry(const RetryPolicy& policy, Cancellation* cancellation,
                   const std::function<absl::Status()>& call);

// The wait before the next call after `failures` in a row, not less than the server asked for in
// `status`; false when cancelled.
bool WaitToRetry(const common::BackoffPolicy& backoff, int failures, const absl::Status& status,
                 Cancellation* cancellation);

}  // namespace longlora::client

#endif  // LONGLORA_CLIENT_RETRY_H_
