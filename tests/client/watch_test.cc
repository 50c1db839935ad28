// Goal: whatever happens to the connection, a watcher sees every event once and in order, and
// learns the job's end. Method: a fake server whose streams break after a told number of events, or
// which goes away.
#include "client/watch.h"

#include <thread>

#include "gmock/gmock.h"
#include "tests/client/test_client.h"
#include "tests/testing/status_matchers.h"

namespace longlora::client {
namespace {

using ::longlora::testing::StatusIs;
using ::testing::ElementsAre;

constexpr char kName[] = "fineTuneJobs/some-job";

// Remembers everything; reacts as told.
class Recorder : public WatchObserver {
 public:
  void OnJob(const v1::FineTuneJob&) override { ++jobs; }
  void OnEvent(const v1::JobEvent& event) override {
    sequences.push_back(event.sequence());
    if (on_event) on_event(event);
  }
  void OnDisconnected(const absl::Status&) override {
    ++disconnects;
    if (on_disconnected) on_disconnected();
  }
  void OnReconnected() override { ++reconnects; }
  void OnGap(int64_t first, int64_t last) override { gaps.push_back({first, last}); }

  int jobs = 0;
  int disconnects = 0;
  int reconnects = 0;
  std::vector<int64_t> sequences;
  std::vector<std::pair<int64_t, int64_t>> gaps;
  std::function<void(const v1::JobEvent&)> on_event;
  std::function<void()> on_disconnected;
};

WatchOptions QuickOptions() {
  WatchOptions options;
  options.backoff = {.initial = absl::Milliseconds(1), .maximum = absl::Milliseconds(20)};
  return options;
}

void AddFinishedJob(FakeServer& server, int steps) {
  server.AddJob("some-job");
  for (int step = 1; step <= steps; ++step) server.AddStep("some-job", step, 1.0 / step);
  server.AddState("some-job", v1::FineTuneJob::SUCCEEDED);
}

TEST(WatchTest, BrokenStreamsLoseAndDoubleNothing) {
  FakeServer server;
  AddFinishedJob(server, 7);
  server.BreakStreamsAfter({3, 0, 1, 2});
  Recorder recorder;
  const auto client = MakeTestClient(server);
  ASSERT_OK_AND_ASSIGN(const v1::FineTuneJob job,
                       WatchJob(*client, kName, QuickOptions(), recorder));
  EXPECT_EQ(job.state(), v1::FineTuneJob::SUCCEEDED);
  EXPECT_THAT(recorder.sequences, ElementsAre(1, 2, 3, 4, 5, 6, 7, 8));
  EXPECT_TRUE(recorder.gaps.empty());
  EXPECT_EQ(recorder.jobs, 5);
}

TEST(WatchTest, StartsAfterTheGivenSequence) {
  FakeServer server;
  AddFinishedJob(server, 4);
  WatchOptions options = QuickOptions();
  options.after_sequence = 3;
  Recorder recorder;
  EXPECT_OK(WatchJob(*MakeTestClient(server), kName, options, recorder));
  EXPECT_THAT(recorder.sequences, ElementsAre(4, 5));
}

TEST(WatchTest, ServerThatRestartsIsToldOnceAndWatchedOn) {
  FakeServer server;
  server.AddJob("some-job", v1::FineTuneJob::RUNNING);
  server.AddStep("some-job", 1, 2.0);
  Recorder recorder;
  std::thread stopper;
  recorder.on_event = [&](const v1::JobEvent& event) {
    // Stop waits for the handlers of the server, so not on the thread that reads the stream.
    if (event.sequence() == 1) stopper = std::thread([&] { server.Stop(); });
  };
  recorder.on_disconnected = [&] {
    stopper.join();
    server.AddStep("some-job", 2, 1.0);
    server.AddState("some-job", v1::FineTuneJob::SUCCEEDED);
    server.Start();
  };
  const auto client = MakeTestClient(server);
  ASSERT_OK_AND_ASSIGN(const v1::FineTuneJob job,
                       WatchJob(*client, kName, QuickOptions(), recorder));
  EXPECT_EQ(job.state(), v1::FineTuneJob::SUCCEEDED);
  EXPECT_THAT(recorder.sequences, ElementsAre(1, 2, 3));
  EXPECT_EQ(recorder.disconnects, 1);
  EXPECT_EQ(recorder.reconnects, 1);
}

TEST(WatchTest, GivesUpWhenTheServerStaysAway) {
  FakeServer server;
  server.AddJob("some-job", v1::FineTuneJob::RUNNING);
  server.AddStep("some-job", 1, 2.0);
  server.BreakStreamsAfter({1});
  Recorder recorder;
  recorder.on_event = [&](const v1::JobEvent&) {
    for (int i = 0; i < 1000; ++i) server.FailNext("WatchFineTuneJob", Unavailable());
  };
  WatchOptions options = QuickOptions();
  options.reconnect_timeout = absl::Milliseconds(50);
  EXPECT_THAT(WatchJob(*MakeTestClient(server), kName, options, recorder),
              StatusIs(absl::StatusCode::kUnavailable, "cannot reach the server"));
  EXPECT_EQ(recorder.disconnects, 1);
}

TEST(WatchTest, WrongAddressIsNoticedAfterAFewTries) {
  FakeServer server;
  for (int i = 0; i < 100; ++i) server.FailNext("WatchFineTuneJob", Unavailable());
  Recorder recorder;
  EXPECT_THAT(WatchJob(*MakeTestClient(server), kName, QuickOptions(), recorder),
              StatusIs(absl::StatusCode::kUnavailable, ""));
  EXPECT_EQ(server.calls("WatchFineTuneJob"), RetryPolicy().attempts);
  EXPECT_EQ(recorder.disconnects, 0);
}

TEST(WatchTest, UnknownJobEndsAtOnce) {
  FakeServer server;
  Recorder recorder;
  EXPECT_THAT(WatchJob(*MakeTestClient(server), kName, QuickOptions(), recorder),
              StatusIs(absl::StatusCode::kNotFound, kName));
}

TEST(WatchTest, CancellationEndsAnIdleStream) {
  FakeServer server;
  server.AddJob("some-job", v1::FineTuneJob::RUNNING);
  server.AddStep("some-job", 1, 2.0);
  Cancellation cancellation;
  Recorder recorder;
  recorder.on_event = [&](const v1::JobEvent&) { cancellation.Cancel(); };
  EXPECT_THAT(WatchJob(*MakeTestClient(server, &cancellation), kName, QuickOptions(), recorder),
              StatusIs(absl::StatusCode::kCancelled, "interrupted"));
}

TEST(WatchTest, StreamThatAStoppingServerCancelledIsABreak) {
  FakeServer server;
  server.AddJob("some-job", v1::FineTuneJob::RUNNING);
  server.FailNext("WatchFineTuneJob", grpc::Status(grpc::StatusCode::CANCELLED, "shutting down"));
  AddFinishedJob(server, 2);
  Recorder recorder;
  EXPECT_OK(WatchJob(*MakeTestClient(server), kName, QuickOptions(), recorder));
  EXPECT_THAT(recorder.sequences, ElementsAre(1, 2, 3));
}

}  // namespace
}  // namespace longlora::client
