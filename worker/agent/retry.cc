#include "worker/agent/retry.h"

#include <algorithm>

#include "absl/random/random.h"
#include "rpc/grpc_status.h"

namespace longlora::worker {

ErrorClass ClassifyError(const absl::Status& status) {
  const rpc::ErrorDetails details = rpc::GetErrorDetails(status);
  switch (status.code()) {
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kDeadlineExceeded:
    case absl::StatusCode::kCancelled:        // by a server that shuts down
    case absl::StatusCode::kUnauthenticated:  // tokens rotate; the lease bounds how long that is
                                              // waited for
    case absl::StatusCode::kPermissionDenied:
      return ErrorClass::kTransient;
    case absl::StatusCode::kUnknown:  // a stream that broke in the middle
    case absl::StatusCode::kInternal:
    case absl::StatusCode::kAborted:
      return ErrorClass::kDoubtful;
    case absl::StatusCode::kResourceExhausted:
      // With a reason it is a limit of the service, for now if that says when to come again;
      // without, the server is busy.
      return details.reason.empty() || details.retry_delay > absl::ZeroDuration()
                 ? ErrorClass::kTransient
                 : ErrorClass::kFinal;
    default:
      return ErrorClass::kFinal;
  }
}

absl::Status RetryCall(const RetryPolicy& policy, Cancellation* cancellation,
                       absl::FunctionRef<absl::Status()> call) {
  absl::BitGen random;
  int doubtful = 0;
  for (int failures = 1;; ++failures) {
    if (cancellation->cancelled()) return absl::CancelledError("no longer wanted");
    const absl::Status status = call();
    if (status.ok()) return status;
    if (cancellation->cancelled()) return absl::CancelledError("no longer wanted");
    const ErrorClass error_class = ClassifyError(status);
    if (error_class == ErrorClass::kFinal) return status;
    doubtful = error_class == ErrorClass::kDoubtful ? doubtful + 1 : 0;
    if (doubtful >= policy.doubtful_tries) return status;
    cancellation->WaitFor(
        std::min(rpc::GetErrorDetails(status).retry_delay, policy.backoff.maximum) +
        common::BackoffDelay(policy.backoff, failures, absl::Uniform(random, 0.0, 1.0)));
  }
}

}  // namespace longlora::worker
