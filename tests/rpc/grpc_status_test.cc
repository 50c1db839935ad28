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

TEST(GrpcStatusTest, WhenToComeAgainSurvivesTheWire) {
  const auto there_and_back = [](absl::Duration delay) {
    return GetErrorDetails(FromGrpcStatus(
        ToGrpcStatus(MakeError(absl::StatusCode::kResourceExhausted, "busy",
                               {.reason = "TOO_MANY_CALLS", .retry_delay = delay}))));
  };
  EXPECT_EQ(there_and_back(absl::Milliseconds(2500)).retry_delay, absl::Milliseconds(2500));
  EXPECT_EQ(there_and_back(absl::Milliseconds(2500)).reason, "TOO_MANY_CALLS");
  EXPECT_EQ(there_and_back(absl::ZeroDuration()).retry_delay, absl::ZeroDuration());
}

TEST(GrpcStatusTest, WhatGoesOnTheWireIsShortWhateverTheCallerSent) {
  const std::string sent(100'000, 'x');
  const std::string umlauts = [] {
    std::string text = "y";
    for (int i = 0; i < 5000; ++i) text += "\xC3\xA4";
    return text;
  }();
  ErrorDetails details;
  details.reason = "SPEC_INVALID";
  details.metadata["name"] = sent;
  for (int i = 0; i < 1000; ++i) details.violations.push_back({sent, umlauts});
  const grpc::Status wire =
      ToGrpcStatus(MakeError(absl::StatusCode::kInvalidArgument, umlauts, details));
  // The details go in base64, a third longer.
  EXPECT_LT(wire.error_message().size() + wire.error_details().size() * 4 / 3, 8000u);
  const ErrorDetails received = GetErrorDetails(FromGrpcStatus(wire));
  EXPECT_EQ(received.reason, "SPEC_INVALID") << "it is UTF-8, else protobuf would not take it";
  EXPECT_EQ(received.violations.size(), 1u);
  EXPECT_EQ(received.metadata.at("name").substr(0, 3), "xxx");
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
