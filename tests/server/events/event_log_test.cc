// Goal: a log is read by sequence without loss or repetition, and its end is recognised.
// Method: a real SQLite store; appends through AppendEvent.
#include "server/events/event_log.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "rpc/grpc_status.h"
#include "server/store/sqlite_job_store.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temporary_directory.h"

namespace longlora::server {
namespace {

using ::longlora::testing::StatusIs;

class EventLogTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_OK_AND_ASSIGN(store_, OpenSqliteJobStore(folder_ / "jobs.db"));
    log_ = std::make_unique<EventLog>(*store_, hub_);
    change_.id = "alpha-1";
    change_.order = 1;
    change_.record.emplace();
  }
  void Append(const std::string& message) {
    v1::JobEvent event;
    event.mutable_log()->set_message(message);
    AppendEvent(std::move(event), change_);
  }

  testing::TemporaryDirectory folder_;
  std::unique_ptr<JobStore> store_;
  EventHub hub_;
  std::unique_ptr<EventLog> log_;
  JobTransaction change_;
};

TEST_F(EventLogTest, AppendedEventsAreNumberedAndNamed) {
  Append("one");
  Append("two");
  ASSERT_OK(store_->Enqueue(change_).Wait());
  ASSERT_OK_AND_ASSIGN(const EventPage page, log_->Read("fineTuneJobs/alpha-1", 0, 10));
  ASSERT_EQ(page.events.size(), 2u);
  EXPECT_EQ(page.events[0].sequence(), 1);
  EXPECT_EQ(page.events[1].sequence(), 2);
  EXPECT_EQ(page.events[1].job(), "fineTuneJobs/alpha-1");
  EXPECT_EQ(page.events[1].log().message(), "two");
  EXPECT_EQ(page.last_event_sequence, 2);
}

TEST_F(EventLogTest, ReadingBeyondTheEndIsRefusedAtTheEndNot) {
  Append("one");
  ASSERT_OK(store_->Enqueue(change_).Wait());
  EXPECT_OK(log_->Read("fineTuneJobs/alpha-1", 1, 10));
  const absl::Status ahead = log_->Read("fineTuneJobs/alpha-1", 2, 10).status();
  EXPECT_THAT(ahead, StatusIs(absl::StatusCode::kOutOfRange, "last event"));
  EXPECT_EQ(rpc::GetErrorDetails(ahead).reason, "SEQUENCE_AHEAD");
}

TEST_F(EventLogTest, UnknownAndMalformedNamesHaveReasons) {
  EXPECT_EQ(rpc::GetErrorDetails(log_->Read("fineTuneJobs/none-1", 0, 1).status()).reason,
            "JOB_NOT_FOUND");
  EXPECT_EQ(rpc::GetErrorDetails(log_->Read("none", 0, 1).status()).reason, "NAME_INVALID");
  EXPECT_EQ(rpc::GetErrorDetails(log_->Subscribe("none", [] {}).status()).reason, "NAME_INVALID");
}

TEST_F(EventLogTest, SubscriberIsWokenByTheHub) {
  int woken = 0;
  ASSERT_OK_AND_ASSIGN(const EventSubscription subscription,
                       log_->Subscribe("fineTuneJobs/alpha-1", [&] { ++woken; }));
  hub_.Notify("alpha-1");
  EXPECT_EQ(woken, 1);
}

TEST_F(EventLogTest, WhereEventsAreNoLongerKeptIsTold) {
  for (const char* line : {"one", "two", "three", "four"}) Append(line);
  ASSERT_OK(store_->Enqueue(change_).Wait());
  ASSERT_OK(store_->EnqueueDropEvents("alpha-1", 2).Wait());
  ASSERT_OK_AND_ASSIGN(const EventPage page, log_->Read("fineTuneJobs/alpha-1", 0, 10));
  ASSERT_EQ(page.events.size(), 2u);
  EXPECT_EQ(page.events[0].sequence(), 3);
  EXPECT_OK(log_->Read("fineTuneJobs/alpha-1", 2, 10));
  const absl::Status dropped = log_->Read("fineTuneJobs/alpha-1", 1, 10).status();
  EXPECT_THAT(dropped, StatusIs(absl::StatusCode::kOutOfRange, "no longer kept"));
  EXPECT_EQ(rpc::GetErrorDetails(dropped).reason, "EVENTS_DROPPED");
  EXPECT_EQ(rpc::GetErrorDetails(dropped).metadata.at("first_event_sequence"), "3");
}

}  // namespace
}  // namespace longlora::server
