// Goal: an error arrives with the code, message and details it left with. Method: there and back.
#include "rpc/grpc_status.h"

#include "gmock/gmock.h"
#include "tests/testing/status_matchers.h"

namespace longlora::rpc {
namespace {

TEST(GrpcStatusTest, CodeMessageAndDetailsSurviveTheWire) {
  const absl::Status sent =
      MakeError(absl::StatusCode::kInvalidArgument, "spec is wrong",
                {"SPEC_INVALID", {{"job", "fineTuneJobs/a"}}, {{"priority", "is too high"}}});
  const grpc::Status wire = ToGrpcStatus(sent);
  EXPECT_EQ(wire.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(wire.error_message(), "spec is wrong");

  const absl::Status received = FromGrpcStatus(wire);
  EXPECT_EQ(received.code(), sent.code());
  const ErrorDetails details = GetErrorDetails(received);
  EXPECT_EQ(details.reason, "SPEC_INVALID");
  EXPECT_EQ(details.metadata.at("job"), "fineTuneJobs/a");
  ASSERT_EQ(details.violations.size(), 1u);
  EXPECT_EQ(details.violations[0].field, "priority");
  EXPECT_EQ(details.violations[0].description, "is too high");
}

TEST(GrpcStatusTest, EveryCodeKeepsItsNumber) {
  for (int code = 1; code <= 16; ++code) {
    const absl::Status status(static_cast<absl::StatusCode>(code), "m");
    EXPECT_EQ(static_cast<int>(ToGrpcStatus(status).error_code()), code);
    EXPECT_EQ(FromGrpcStatus(ToGrpcStatus(status)), status);
  }
  EXPECT_TRUE(ToGrpcStatus(absl::OkStatus()).ok());
}

TEST(GrpcStatusTest, ForeignErrorsHaveNoReason) {
  const absl::Status status =
      FromGrpcStatus(grpc::Status(grpc::StatusCode::UNAVAILABLE, "x", "junk"));
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(GetErrorDetails(status).reason, "");
}

}  // namespace
}  // namespace longlora::rpc
