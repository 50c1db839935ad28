// Goal: unary calls are repeated exactly when that is safe and useful, and errors keep code and
// details. Method: a fake server on loopback that fails the next calls as told and counts them.
#include "client/fine_tune_client.h"

#include <set>

#include "gmock/gmock.h"
#include "rpc/grpc_status.h"
#include "tests/client/test_client.h"
#include "tests/testing/status_matchers.h"

namespace longlora::client {
namespace {

using ::longlora::testing::StatusIs;
using ::testing::HasSubstr;

TEST(FineTuneClientTest, RetriesUnavailableWithTheSameRequestId) {
  FakeServer server;
  server.FailNext("CreateFineTuneJob", Unavailable());
  server.FailNext("CreateFineTuneJob", Unavailable());
  const auto client = MakeTestClient(server);
  v1::CreateFineTuneJobRequest request;
  request.set_request_id("a-wish");
  ASSERT_OK_AND_ASSIGN(const v1::FineTuneJob job, client->CreateJob(request));
  EXPECT_EQ(job.name(), "fineTuneJobs/made-1");
  EXPECT_THAT(server.request_ids(), ::testing::ElementsAre("a-wish", "a-wish", "a-wish"));
}

TEST(FineTuneClientTest, ComesAgainWhenTheServerSaysWhenAndNotBefore) {
  FakeServer server;
  const absl::Duration asked = absl::Milliseconds(50);
  server.FailNext("CreateFineTuneJob", rpc::ToGrpcStatus(rpc::MakeError(
                                           absl::StatusCode::kResourceExhausted, "busy",
                                           {.reason = "TOO_MANY_CREATES", .retry_delay = asked})));
  const auto client = MakeTestClient(server);
  v1::CreateFineTuneJobRequest request;
  request.set_request_id("a-wish");
  const absl::Time start = absl::Now();
  EXPECT_OK(client->CreateJob(request));
  EXPECT_GE(absl::Now() - start, asked);
  EXPECT_THAT(server.request_ids(), ::testing::ElementsAre("a-wish", "a-wish"));
}

TEST(FineTuneClientTest, LimitsThatLastAreNotTriedAgain) {
  FakeServer server;
  server.FailNext("CreateFineTuneJob",
                  rpc::ToGrpcStatus(rpc::MakeError(absl::StatusCode::kResourceExhausted, "full",
                                                   {.reason = "QUEUE_FULL"})));
  EXPECT_THAT(MakeTestClient(server)->CreateJob(v1::CreateFineTuneJobRequest()),
              StatusIs(absl::StatusCode::kResourceExhausted, "full"));
  EXPECT_EQ(server.calls("CreateFineTuneJob"), 1);
}

TEST(FineTuneClientTest, GivesUpAfterTheAllowedAttemptsAndNamesTheServer) {
  FakeServer server;
  for (int i = 0; i < 10; ++i) server.FailNext("GetFineTuneJob", Unavailable());
  const auto client = MakeTestClient(server);
  EXPECT_THAT(client->GetJob("fineTuneJobs/none"),
              StatusIs(absl::StatusCode::kUnavailable, server.address()));
  EXPECT_EQ(server.calls("GetFineTuneJob"), RetryPolicy().attempts);
}

TEST(FineTuneClientTest, DoesNotRetryOtherErrorsAndKeepsTheirDetails) {
  FakeServer server;
  const auto client = MakeTestClient(server);
  const absl::Status status = client->GetJob("fineTuneJobs/none").status();
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kNotFound, "fineTuneJobs/none"));
  EXPECT_EQ(rpc::GetErrorDetails(status).reason, "JOB_NOT_FOUND");
  EXPECT_EQ(server.calls("GetFineTuneJob"), 1);
}

TEST(FineTuneClientTest, CancelWhoseAnswerWasLostReportsTheCancelledJob) {
  FakeServer server;
  server.AddJob("some-job");
  server.FailNext("CancelFineTuneJob", Unavailable());
  const auto client = MakeTestClient(server);
  ASSERT_OK_AND_ASSIGN(const v1::FineTuneJob job, client->CancelJob("fineTuneJobs/some-job"));
  EXPECT_EQ(job.state(), v1::FineTuneJob::CANCELLED);
}

TEST(FineTuneClientTest, CancelOfAnEndedJobStaysAnError) {
  FakeServer server;
  server.AddJob("some-job", v1::FineTuneJob::CANCELLED);
  EXPECT_THAT(MakeTestClient(server)->CancelJob("fineTuneJobs/some-job"),
              StatusIs(absl::StatusCode::kFailedPrecondition, "ended"));
}

TEST(FineTuneClientTest, DeleteWhoseAnswerWasLostSucceeds) {
  FakeServer server;
  server.AddJob("some-job", v1::FineTuneJob::SUCCEEDED);
  server.FailNext("DeleteFineTuneJob", Unavailable());
  const auto client = MakeTestClient(server);
  EXPECT_OK(client->DeleteJob("fineTuneJobs/some-job", false));
  EXPECT_THAT(client->DeleteJob("fineTuneJobs/some-job", false),
              StatusIs(absl::StatusCode::kNotFound, ""));
}

TEST(FineTuneClientTest, ListWalksAllPagesAndHonoursTheLimit) {
  FakeServer server;
  for (int i = 0; i < 5; ++i) server.AddJob(absl::StrCat("some-job-", i));
  const auto client = MakeTestClient(server);
  ASSERT_OK_AND_ASSIGN(const auto all, client->ListJobs({}, 0));
  std::set<std::string> names;
  for (const v1::FineTuneJob& job : all) names.insert(job.name());
  EXPECT_EQ(all.size(), 5u);
  EXPECT_EQ(names.size(), 5u);
  ASSERT_OK_AND_ASSIGN(const auto three, client->ListJobs({}, 3));
  EXPECT_EQ(three.size(), 3u);
  ASSERT_OK_AND_ASSIGN(const auto none, client->ListJobs({v1::FineTuneJob::FAILED}, 0));
  EXPECT_TRUE(none.empty());
}

TEST(FineTuneClientTest, ListEventsWalksAllPagesInOrder) {
  FakeServer server;
  server.AddJob("some-job");
  for (int step = 1; step <= 5; ++step) server.AddStep("some-job", step, 1.0);
  std::vector<int64_t> sequences;
  EXPECT_OK(MakeTestClient(server)->ListEvents(
      "fineTuneJobs/some-job",
      [&](const v1::JobEvent& event) { sequences.push_back(event.sequence()); }));
  EXPECT_THAT(sequences, ::testing::ElementsAre(1, 2, 3, 4, 5));
}

TEST(FineTuneClientTest, CancellationEndsTheWaitBetweenTries) {
  FakeServer server;
  for (int i = 0; i < 10; ++i) server.FailNext("GetFineTuneJob", Unavailable());
  Cancellation cancellation;
  cancellation.Cancel();
  ClientOptions options;
  options.server = server.address();
  // Longer than the test may take.
  options.retry.backoff = {.initial = absl::Hours(1), .maximum = absl::Hours(1)};
  options.cancellation = &cancellation;
  ASSERT_OK_AND_ASSIGN(const auto client, FineTuneClient::Create(options));
  EXPECT_THAT(client->GetJob("fineTuneJobs/none"), StatusIs(absl::StatusCode::kCancelled, ""));
}

}  // namespace
}  // namespace longlora::client
