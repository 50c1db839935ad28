// Goal: an error is taken for what it is: the server is away or busy, in doubt, or says no.
// Method: errors by hand.
#include "worker/agent/retry.h"

#include <gtest/gtest.h>

#include "rpc/grpc_status.h"
#include "tests/testing/status_matchers.h"

namespace longlora::worker {
namespace {

absl::Status Exhausted(const std::string& reason, absl::Duration retry_delay) {
  return rpc::MakeError(absl::StatusCode::kResourceExhausted, "x",
                        {.reason = reason, .retry_delay = retry_delay});
}

TEST(ClassifyErrorTest, AServerThatIsAwayOrBusyIsTriedAgain) {
  EXPECT_EQ(ClassifyError(absl::UnavailableError("x")), ErrorClass::kTransient);
  EXPECT_EQ(ClassifyError(absl::ResourceExhaustedError("gRPC's own")), ErrorClass::kTransient);
  EXPECT_EQ(ClassifyError(Exhausted("TOO_MANY_CALLS", absl::Seconds(1))), ErrorClass::kTransient);
  EXPECT_EQ(ClassifyError(Exhausted("TOO_MANY_TRANSFERS", absl::Seconds(1))),
            ErrorClass::kTransient);
}

TEST(ClassifyErrorTest, ALimitThatLastsIsFinal) {
  EXPECT_EQ(ClassifyError(Exhausted("ARTIFACT_TOO_LARGE", absl::ZeroDuration())),
            ErrorClass::kFinal);
  EXPECT_EQ(ClassifyError(absl::InvalidArgumentError("x")), ErrorClass::kFinal);
}

TEST(RetryCallTest, CallsUntilABusyServerHasRoom) {
  RetryPolicy policy;
  policy.backoff = {.initial = absl::Milliseconds(1), .maximum = absl::Milliseconds(1)};
  Cancellation cancellation;
  int calls = 0;
  EXPECT_OK(RetryCall(policy, &cancellation, [&] {
    return ++calls < 4 ? Exhausted("TOO_MANY_CALLS", absl::Milliseconds(1)) : absl::OkStatus();
  }));
  EXPECT_EQ(calls, 4);
}

}  // namespace
}  // namespace longlora::worker
