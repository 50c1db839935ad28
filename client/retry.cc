#include "client/retry.h"

#include <algorithm>

#include "absl/random/random.h"
#include "absl/time/clock.h"
#include "rpc/grpc_status.h"

namespace longlora::client {
namespace {

// A server that asks for more is not waited for any longer than this.
constexpr absl::Duration kLongestDelayAsked = absl::Minutes(1);

}  // namespace

double RandomFraction() {
  thread_local absl::BitGen generator;
  return absl::Uniform(generator, 0.0, 1.0);
}

bool MayTryAgain(const absl::Status& status) {
  return absl::IsUnavailable(status) ||
         rpc::GetErrorDetails(status).retry_delay > absl::ZeroDuration();
}

bool WaitToRetry(const common::BackoffPolicy& backoff, int failures, const absl::Status& status,
                 Cancellation* cancellation) {
  // The back-off comes on top: it spreads those who were told the same.
  const absl::Duration asked =
      std::min(rpc::GetErrorDetails(status).retry_delay, kLongestDelayAsked);
  const absl::Duration delay = asked + common::BackoffDelay(backoff, failures, RandomFraction());
  if (cancellation != nullptr) return cancellation->Sleep(delay);
  absl::SleepFor(delay);
  return true;
}

absl::Status Retry(const RetryPolicy& policy, Cancellation* cancellation,
                   const std::function<absl::Status()>& call) {
  for (int failures = 1;; ++failures) {
    absl::Status status = call();
    if (!MayTryAgain(status) || failures >= policy.attempts) return status;
    if (!WaitToRetry(policy.backoff, failures, status, cancellation)) {
      return absl::CancelledError("interrupted");
    }
  }
}

}  // namespace longlora::client
