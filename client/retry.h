// Trying again while the server cannot be reached: bounded, with growing, jittered delays. Only
// UNAVAILABLE is tried again (AIP-194), and only by callers whose call may safely be made twice.
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

// Makes `call` until it returns anything but UNAVAILABLE, or policy.attempts calls were made. Waits
// in between; returns CANCELLED when `cancellation` (may be null) ends a wait.
absl::Status Retry(const RetryPolicy& policy, Cancellation* cancellation,
                   const std::function<absl::Status()>& call);

// The wait before the next call after `failures` in a row; false when cancelled.
bool WaitToRetry(const common::BackoffPolicy& backoff, int failures, Cancellation* cancellation);

}  // namespace longlora::client

#endif  // LONGLORA_CLIENT_RETRY_H_
