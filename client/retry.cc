#include "client/retry.h"

#include "absl/random/random.h"
#include "absl/time/clock.h"

namespace longlora::client {

double RandomFraction() {
  thread_local absl::BitGen generator;
  return absl::Uniform(generator, 0.0, 1.0);
}

bool WaitToRetry(const common::BackoffPolicy& backoff, int failures, Cancellation* cancellation) {
  const absl::Duration delay = common::BackoffDelay(backoff, failures, RandomFraction());
  if (cancellation != nullptr) return cancellation->Sleep(delay);
  absl::SleepFor(delay);
  return true;
}

absl::Status Retry(const RetryPolicy& policy, Cancellation* cancellation,
                   const std::function<absl::Status()>& call) {
  for (int failures = 1;; ++failures) {
    absl::Status status = call();
    if (!absl::IsUnavailable(status) || failures >= policy.attempts) return status;
    if (!WaitToRetry(policy.backoff, failures, cancellation)) {
      return absl::CancelledError("interrupted");
    }
  }
}

}  // namespace longlora::client
