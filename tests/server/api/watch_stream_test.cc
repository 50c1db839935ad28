// Goal: a watcher sees the job, then every event once and in order, across broken streams, and
// learns of the end of the job and of the server. Method: a server in this process, real streams.
#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <memory>
#include <thread>
#include <vector>

#include "tests/server/api/test_server.h"

namespace longlora::server {
namespace {

class WatchStreamTest : public ::testing::Test {
 protected:
  // Reads until the server ends the stream.
  grpc::Status Watch(const std::string& name, int64_t after_sequence,
                     std::vector<v1::WatchFineTuneJobResponse>* updates) {
    v1::WatchFineTuneJobRequest request;
    request.set_name(name);
    request.set_after_sequence(after_sequence);
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(60));
    auto reader = server_.jobs().WatchFineTuneJob(&context, request);
    v1::WatchFineTuneJobResponse update;
    updates->clear();
    while (reader->Read(&update)) updates->push_back(update);
    return reader->Finish();
  }
  // Whether they are the job and then the events after `after_sequence` without a gap.
  void ExpectInOrder(const std::vector<v1::WatchFineTuneJobResponse>& updates,
                     int64_t after_sequence) {
    ASSERT_FALSE(updates.empty());
    EXPECT_TRUE(updates[0].has_job());
    for (size_t i = 1; i < updates.size(); ++i) {
      ASSERT_TRUE(updates[i].has_event());
      EXPECT_EQ(updates[i].event().sequence(), after_sequence + static_cast<int64_t>(i));
    }
  }

  TestServer server_;
};

TEST_F(WatchStreamTest, FinalJobIsToldWholeAndTheStreamEnds) {
  server_.Synchronize();
  const v1::FineTuneJob job = server_.Create();
  server_.Succeed(server_.AwaitAssignment(), "adapter");
  std::vector<v1::WatchFineTuneJobResponse> updates;
  ASSERT_TRUE(Watch(job.name(), 0, &updates).ok());
  ExpectInOrder(updates, 0);
  EXPECT_EQ(updates[0].job().state(), v1::FineTuneJob::SUCCEEDED);
  EXPECT_EQ(updates.back().event().state_changed().state(), v1::FineTuneJob::SUCCEEDED);
  const auto last = static_cast<int64_t>(updates.size()) - 1;
  EXPECT_EQ(updates[0].job().last_event_sequence(), last);

  ASSERT_TRUE(Watch(job.name(), 2, &updates).ok());
  ExpectInOrder(updates, 2);
  ASSERT_TRUE(Watch(job.name(), last, &updates).ok());
  EXPECT_EQ(updates.size(), 1u);
  EXPECT_EQ(ReasonOf(Watch(job.name(), last + 1, &updates)), "SEQUENCE_AHEAD");
  EXPECT_EQ(ReasonOf(Watch(job.name(), -1, &updates)), "SEQUENCE_AHEAD");
}

TEST_F(WatchStreamTest, UnknownJobsAreNotFound) {
  std::vector<v1::WatchFineTuneJobResponse> updates;
  EXPECT_EQ(ReasonOf(Watch("fineTuneJobs/none-such", 0, &updates)), "JOB_NOT_FOUND");
  EXPECT_EQ(ReasonOf(Watch("x", 0, &updates)), "NAME_INVALID");
  EXPECT_TRUE(updates.empty());
}

TEST_F(WatchStreamTest, ManyWatchersOfALiveJobEachSeeEveryEventAsItHappens) {
  server_.Synchronize();
  const v1::FineTuneJob job = server_.Create();
  constexpr int kWatchers = 50;
  std::vector<std::vector<v1::WatchFineTuneJobResponse>> updates(kWatchers);
  std::atomic<int> failures = 0;
  std::vector<std::thread> watchers;
  for (int i = 0; i < kWatchers; ++i) {
    watchers.emplace_back([&, i] {
      if (!Watch(job.name(), 0, &updates[i]).ok()) ++failures;
    });
  }
  const worker::v1::Assignment assignment = server_.AwaitAssignment();
  for (int64_t i = 0; i < 500; ++i) {
    v1::JobEvent line;
    line.mutable_log()->set_message("line");
    ASSERT_TRUE(server_.Report(assignment, i + 1, {line}).ok());
  }
  v1::CancelFineTuneJobRequest cancel;
  cancel.set_name(job.name());
  grpc::ClientContext context;
  v1::FineTuneJob cancelled;
  ASSERT_TRUE(server_.jobs().CancelFineTuneJob(&context, cancel, &cancelled).ok());
  worker::v1::AttemptStatus stopped;
  stopped.set_job(job.name());
  stopped.set_attempt(assignment.attempt());
  stopped.set_state(worker::v1::AttemptStatus::STOPPED);
  server_.Synchronize({stopped});
  for (std::thread& watcher : watchers) watcher.join();
  EXPECT_EQ(failures, 0);
  for (const auto& seen : updates) {
    ExpectInOrder(seen, 0);
    EXPECT_GT(seen.size(), 500u);
    EXPECT_EQ(seen.size(), updates[0].size());
    EXPECT_EQ(seen.back().event().state_changed().state(), v1::FineTuneJob::CANCELLED);
  }
}

TEST_F(WatchStreamTest, ThousandWatchersThatWaitTakeNoThreads) {
  server_.Synchronize({}, 0);
  v1::WatchFineTuneJobRequest request;
  request.set_name(server_.Create().name());
  const auto count_threads = [] {
    return std::distance(std::filesystem::directory_iterator("/proc/self/task"),
                         std::filesystem::directory_iterator());
  };
  constexpr int kWatchers = 1000;
  std::vector<grpc::ClientContext> contexts(kWatchers);
  std::vector<std::unique_ptr<grpc::ClientReader<v1::WatchFineTuneJobResponse>>> readers;
  v1::WatchFineTuneJobResponse update;
  const auto threads_before = count_threads();
  for (grpc::ClientContext& context : contexts) {
    readers.push_back(server_.jobs().WatchFineTuneJob(&context, request));
    ASSERT_TRUE(readers.back()->Read(&update));
    EXPECT_TRUE(update.has_job());
  }
  // The server's pools may grow by a few; a thread a watcher would be a thousand.
  EXPECT_LT(count_threads() - threads_before, 50);
  for (grpc::ClientContext& context : contexts) context.TryCancel();
  for (auto& reader : readers) {
    EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::CANCELLED);
  }
}

TEST_F(WatchStreamTest, WatcherThatLeavesHoldsNothingBack) {
  server_.Synchronize();
  const v1::FineTuneJob job = server_.Create();
  v1::WatchFineTuneJobRequest request;
  request.set_name(job.name());
  grpc::ClientContext context;
  auto reader = server_.jobs().WatchFineTuneJob(&context, request);
  v1::WatchFineTuneJobResponse update;
  ASSERT_TRUE(reader->Read(&update));
  context.TryCancel();
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::CANCELLED);
  server_.Succeed(server_.AwaitAssignment(), "adapter");
}

// A stream that the server has room for.
class OpenWatch {
 public:
  // Tries until there is room.
  OpenWatch(TestServer& server, const v1::WatchFineTuneJobRequest& request) {
    while (!TryOpen(server, request)) absl::SleepFor(absl::Milliseconds(10));
  }
  ~OpenWatch() {
    context_->TryCancel();
    stream_->Finish();
  }
  // The next event's sequence; 0: the stream has ended.
  int64_t Next() {
    v1::WatchFineTuneJobResponse update;
    return stream_->Read(&update) ? update.event().sequence() : 0;
  }

 private:
  bool TryOpen(TestServer& server, const v1::WatchFineTuneJobRequest& request) {
    context_ = std::make_unique<grpc::ClientContext>();
    stream_ = server.jobs().WatchFineTuneJob(context_.get(), request);
    v1::WatchFineTuneJobResponse job;
    if (stream_->Read(&job)) return true;
    EXPECT_EQ(ReasonOf(stream_->Finish()), "TOO_MANY_WATCHES");
    return false;
  }
  std::unique_ptr<grpc::ClientContext> context_;
  std::unique_ptr<grpc::ClientReader<v1::WatchFineTuneJobResponse>> stream_;
};

TEST(SlowWatcherTest, IsCutOffHoldsNobodyBackAndGoesOnWhereItWas) {
  TestServer server([](ServerConfig& config) {
    config.limits.watch_stall = absl::Seconds(1);
    config.limits.watches = 2;
  });
  server.Synchronize();
  v1::WatchFineTuneJobRequest request;
  request.set_name(server.Create().name());
  const worker::v1::Assignment assignment = server.AwaitAssignment();
  // With the window that HTTP/2 begins with: gRPC makes it larger the longer a ping takes, and on a
  // busy machine it would hold all that the watcher does not take.
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_HTTP2_BDP_PROBE, 0);
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  const auto jobs = v1::FineTuneService::NewStub(
      grpc::CreateCustomChannel(server.address(), grpc::InsecureChannelCredentials(), arguments));
  grpc::ClientContext slow_context;
  auto slow = jobs->WatchFineTuneJob(&slow_context, request);
  v1::WatchFineTuneJobResponse update;
  ASSERT_TRUE(slow->Read(&update));

  constexpr int64_t kLines = 300;
  v1::JobEvent line;
  line.mutable_log()->set_message(std::string(8000, 'x'));
  for (int64_t i = 0; i < kLines; i += 100) {
    ASSERT_TRUE(server.Report(assignment, i + 1, std::vector<v1::JobEvent>(100, line)).ok());
  }
  // One that reads gets it all meanwhile.
  OpenWatch quick(server, request);
  int64_t last = 0;
  while (last < kLines) {
    last = quick.Next();
    ASSERT_GT(last, 0);
  }
  // For a third there is room once the slow one is cut off.
  {
    const OpenWatch third(server, request);
  }

  // What was on its way still comes, then the end.
  int64_t seen = 0;
  while (slow->Read(&update)) seen = update.event().sequence();
  EXPECT_EQ(slow->Finish().error_code(), grpc::StatusCode::CANCELLED);
  EXPECT_LT(seen, kLines);
  request.set_after_sequence(seen);
  OpenWatch again(server, request);
  for (int64_t next = seen + 1; next <= kLines; ++next) ASSERT_EQ(again.Next(), next);
}

TEST_F(WatchStreamTest, CancelledJobEndsItsWatchers) {
  server_.Synchronize({}, 0);
  const v1::FineTuneJob job = server_.Create();
  v1::WatchFineTuneJobRequest request;
  request.set_name(job.name());
  grpc::ClientContext context;
  auto reader = server_.jobs().WatchFineTuneJob(&context, request);
  v1::WatchFineTuneJobResponse update;
  ASSERT_TRUE(reader->Read(&update));
  v1::CancelFineTuneJobRequest cancel;
  cancel.set_name(job.name());
  grpc::ClientContext cancel_context;
  v1::FineTuneJob cancelled;
  ASSERT_TRUE(server_.jobs().CancelFineTuneJob(&cancel_context, cancel, &cancelled).ok());
  while (reader->Read(&update)) {
  }
  EXPECT_TRUE(reader->Finish().ok());
  EXPECT_EQ(update.event().state_changed().state(), v1::FineTuneJob::CANCELLED);
}

TEST_F(WatchStreamTest, StoppingServerTellsWatchersToComeBack) {
  server_.Synchronize({}, 0);
  const v1::FineTuneJob job = server_.Create();
  v1::WatchFineTuneJobRequest request;
  request.set_name(job.name());
  grpc::ClientContext context;
  auto reader = server_.jobs().WatchFineTuneJob(&context, request);
  v1::WatchFineTuneJobResponse update;
  ASSERT_TRUE(reader->Read(&update));
  std::thread stopper([this] { server_.Stop(); });
  while (reader->Read(&update)) {
  }
  const grpc::Status status = reader->Finish();
  stopper.join();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(ReasonOf(status), "SERVER_STOPPING");

  server_.Restart();
  std::vector<v1::WatchFineTuneJobResponse> updates;
  v1::CancelFineTuneJobRequest cancel;
  cancel.set_name(job.name());
  grpc::ClientContext cancel_context;
  v1::FineTuneJob cancelled;
  ASSERT_TRUE(server_.jobs().CancelFineTuneJob(&cancel_context, cancel, &cancelled).ok());
  ASSERT_TRUE(Watch(job.name(), update.event().sequence(), &updates).ok());
  ExpectInOrder(updates, update.event().sequence());
}

}  // namespace
}  // namespace longlora::server
