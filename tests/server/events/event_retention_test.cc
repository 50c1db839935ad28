// Goal: events go by number and by age, no others, and never the last. Method: a real SQLite store.
#include "server/events/event_retention.h"

#include "gtest/gtest.h"
#include "server/store/sqlite_job_store.h"
#include "server/store/timestamps.h"
#include "tests/server/store/job_transactions.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temporary_directory.h"

namespace longlora::server {
namespace {

const absl::Time kNow = absl::FromUnixSeconds(1'700'000'000);

class EventRetentionTest : public ::testing::Test {
 protected:
  void SetUp() override { ASSERT_OK_AND_ASSIGN(store_, OpenSqliteJobStore(folder_ / "jobs.db")); }
  // A job with so many events, the last of which ended it some time ago.
  void AddJob(const std::string& id, int events, v1::FineTuneJob::State state,
              absl::Duration age = absl::ZeroDuration()) {
    ASSERT_OK(store_->Enqueue(CreateJob(id, ++order_)).Wait());
    ASSERT_OK(store_->Enqueue(AppendLog(*store_->ReadJob(id), events - 2)).Wait());
    JobTransaction end = ChangeState(*store_->ReadJob(id), state);
    *end.record->mutable_job()->mutable_end_time() = ToTimestamp(kNow - age);
    ASSERT_OK(store_->Enqueue(end).Wait());
  }
  int64_t FirstOf(const std::string& id) {
    return store_->ReadEvents(id, 0, 1).value().first_event_sequence;
  }

  testing::TemporaryDirectory folder_;
  std::unique_ptr<JobStore> store_;
  int64_t order_ = 0;
};

TEST_F(EventRetentionTest, LongLogsAreCutToTheNewest) {
  AddJob("long-1", 40, v1::FineTuneJob::RUNNING);
  AddJob("just-over", 22, v1::FineTuneJob::RUNNING);  // a tenth more than 20 may be there
  AddJob("short-1", 5, v1::FineTuneJob::SUCCEEDED, absl::Hours(1000));
  ASSERT_OK_AND_ASSIGN(const int64_t changed, ApplyRetention(*store_, {.events_max = 20}, kNow));
  EXPECT_EQ(changed, 1);
  EXPECT_EQ(FirstOf("long-1"), 21);
  EXPECT_EQ(FirstOf("just-over"), 1);
  EXPECT_EQ(FirstOf("short-1"), 1);
  ASSERT_OK_AND_ASSIGN(const int64_t again, ApplyRetention(*store_, {.events_max = 20}, kNow));
  EXPECT_EQ(again, 0);
}

TEST_F(EventRetentionTest, EventsOfJobsThatEndedLongAgoGoButForTheLast) {
  AddJob("old-1", 9, v1::FineTuneJob::FAILED, absl::Hours(49));
  AddJob("new-1", 9, v1::FineTuneJob::FAILED, absl::Hours(47));
  AddJob("live-1", 9, v1::FineTuneJob::RUNNING, absl::Hours(49));
  const EventRetentionOptions options = {.events_max = 0, .age_max = absl::Hours(48)};
  ASSERT_OK_AND_ASSIGN(const int64_t changed, ApplyRetention(*store_, options, kNow));
  EXPECT_EQ(changed, 1);
  EXPECT_EQ(FirstOf("old-1"), 9);
  EXPECT_EQ(FirstOf("new-1"), 1);
  EXPECT_EQ(FirstOf("live-1"), 1);
}

TEST_F(EventRetentionTest, ByDefaultNothingGoesForItsAge) {
  AddJob("old-1", 9, v1::FineTuneJob::FAILED, absl::Hours(100'000));
  ASSERT_OK_AND_ASSIGN(const int64_t changed, ApplyRetention(*store_, {}, kNow));
  EXPECT_EQ(changed, 0);
}

}  // namespace
}  // namespace longlora::server
