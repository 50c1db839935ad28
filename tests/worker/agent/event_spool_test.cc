// Goal: an event that was appended is sent exactly in order, over crashes and outages, and the
// spool keeps its bounds. Method: spools in a temporary directory, dropped without any farewell as
// a crash would, and damaged by hand; the uploader against the fake service.
#include "worker/agent/event_spool.h"

#include <fcntl.h>
#include <unistd.h>

#include <fstream>
#include <memory>

#include "absl/synchronization/notification.h"
#include "common/io/files.h"
#include "gmock/gmock.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temporary_directory.h"
#include "tests/worker/agent/fake_worker_service.h"
#include "tests/worker/supervisor/trainer_fixture.h"
#include "worker/agent/attempt_directory.h"
#include "worker/agent/event_uploader.h"
#include "worker/agent/former_life.h"

namespace longlora::worker {
namespace {

using ::longlora::testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

api::JobEvent Step(int64_t step) {
  api::JobEvent event;
  event.mutable_step()->set_step(step);
  return event;
}

class EventSpoolTest : public ::testing::Test {
 protected:
  std::unique_ptr<EventSpool> Open(int64_t acknowledged = 0, SpoolLimits limits = {}) {
    auto spool = EventSpool::Open(path_, acknowledged, limits, &metrics_);
    EXPECT_OK(spool);
    return *std::move(spool);
  }
  static std::vector<std::pair<int64_t, int64_t>> Batch(EventSpool& spool) {
    std::vector<std::pair<int64_t, int64_t>> numbers;
    auto batch = spool.NextBatch();
    EXPECT_OK(batch);
    for (const seam::AttemptEvent& event : *batch) {
      numbers.emplace_back(event.sequence(), event.event().step().step());
    }
    return numbers;
  }
  int64_t Size() { return *common::FileSize(path_); }

  testing::TemporaryDirectory directory_;
  const std::string path_ = directory_ / "events.spool";
  WorkerMetrics metrics_{"test", {}, &common::Clock::Real()};
};

TEST_F(EventSpoolTest, NumbersFromOneAndKeepsUntilAcknowledged) {
  const auto spool = Open();
  EXPECT_THAT(Batch(*spool), IsEmpty());
  for (int64_t step = 11; step <= 13; ++step) ASSERT_OK(spool->Append(Step(step)));
  EXPECT_THAT(Batch(*spool), ElementsAre(std::pair(1, 11), std::pair(2, 12), std::pair(3, 13)));
  spool->Acknowledge(2);
  EXPECT_THAT(Batch(*spool), ElementsAre(std::pair(3, 13)));
  spool->Acknowledge(1);
  EXPECT_EQ(spool->pending_count(), 1);
}

TEST_F(EventSpoolTest, NumbersGoOnAfterWhatTheServerHas) {
  const auto spool = Open(/*acknowledged=*/41);
  ASSERT_OK(spool->Append(Step(1)));
  EXPECT_THAT(Batch(*spool), ElementsAre(std::pair(42, 1)));
}

TEST_F(EventSpoolTest, ReopenAfterKillReplaysEverything) {
  {
    const auto spool = Open();
    ASSERT_OK(spool->Append(Step(1)));
    ASSERT_OK(spool->Append(Step(2)));
  }
  const auto spool = Open();
  EXPECT_THAT(Batch(*spool), ElementsAre(std::pair(1, 1), std::pair(2, 2)));
  ASSERT_OK(spool->Append(Step(3)));
  EXPECT_EQ(Batch(*spool).back(), std::pair(int64_t{3}, int64_t{3}));
}

TEST_F(EventSpoolTest, RecordThatAKillCutShortIsDroppedAtEveryLength) {
  int64_t two = 0;
  {
    const auto spool = Open();
    ASSERT_OK(spool->Append(Step(1)));
    ASSERT_OK(spool->Append(Step(2)));
    two = Size();
    ASSERT_OK(spool->Append(Step(3)));
  }
  ASSERT_OK_AND_ASSIGN(const std::string whole, common::ReadFile(path_, 1 << 20));
  for (size_t size = whole.size() - 1; size >= static_cast<size_t>(two); --size) {
    ASSERT_OK(common::AtomicWriteFile(path_, whole.substr(0, size)));
    const auto spool = Open();
    EXPECT_EQ(spool->pending_count(), 2) << "file of " << size << " bytes";
    EXPECT_EQ(Size(), two);
  }
  const auto spool = Open();
  ASSERT_OK(spool->Append(Step(4)));
  EXPECT_THAT(Batch(*spool), ElementsAre(std::pair(1, 1), std::pair(2, 2), std::pair(3, 4)));
}

TEST_F(EventSpoolTest, DamagedRecordEndsTheFile) {
  {
    const auto spool = Open();
    for (int64_t step = 1; step <= 3; ++step) ASSERT_OK(spool->Append(Step(step)));
  }
  std::fstream file(path_, std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(Size() - 1);
  file.put('\x7f');
  file.close();
  EXPECT_EQ(Open()->pending_count(), 2);
}

TEST_F(EventSpoolTest, ZerosAfterAPowerCutAreNoEvents) {
  ASSERT_OK(common::AtomicWriteFile(path_, std::string(100, '\0')));
  EXPECT_EQ(Open()->pending_count(), 0);
  ASSERT_OK(Open()->Append(Step(1)));
  ASSERT_EQ(truncate(path_.c_str(), Size() + 100), 0);
  EXPECT_EQ(Open()->pending_count(), 1);
}

TEST_F(EventSpoolTest, BatchesKeepTheirLimits) {
  SpoolLimits limits;
  limits.batch_events = 3;
  const auto spool = Open(0, limits);
  for (int64_t step = 1; step <= 7; ++step) ASSERT_OK(spool->Append(Step(step)));
  EXPECT_EQ(Batch(*spool).size(), 3u);
  limits.batch_events = 1000;
  limits.batch_bytes = 1;
  EXPECT_EQ(Batch(*Open(0, limits)).size(), 1u) << "one event always goes, or nothing ever would";
}

TEST_F(EventSpoolTest, TooMuchPendingIsRefusedAndNothingIsLost) {
  SpoolLimits limits;
  limits.pending_bytes = 100;
  const auto spool = Open(0, limits);
  absl::Status status;
  int64_t kept = 0;
  while ((status = spool->Append(Step(1))).ok()) ++kept;
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kResourceExhausted, "events wait for the server"));
  EXPECT_GT(kept, 1);
  spool->Acknowledge(kept);
  ASSERT_OK(spool->Append(Step(9)));
  EXPECT_THAT(Batch(*spool), ElementsAre(std::pair(kept + 1, 9)));
}

TEST_F(EventSpoolTest, FileIsEmptiedWhenAllIsAcknowledged) {
  SpoolLimits limits;
  limits.compact_bytes = 200;
  const auto spool = Open(0, limits);
  for (int64_t step = 1; step <= 50; ++step) ASSERT_OK(spool->Append(Step(step)));
  spool->Acknowledge(49);
  EXPECT_GT(Size(), 200);
  spool->Acknowledge(50);
  EXPECT_EQ(Size(), 0);
  ASSERT_OK(spool->Append(Step(51)));
  EXPECT_THAT(Batch(*spool), ElementsAre(std::pair(51, 51)));
}

class EventUploaderTest : public EventSpoolTest {
 protected:
  bool WaitForEvents(size_t count) {
    return Eventually([&] { return service_.Events(id_).size() >= count; });
  }
  FakeWorkerService service_;
  ServerLink link_{seam::WorkerService::NewStub(service_.Channel()), "w1"};
  const AttemptId id_{"fineTuneJobs/j", 1};
};

TEST_F(EventUploaderTest, ManyEventsArriveInOrder) {
  SpoolLimits limits;
  limits.batch_events = 7;
  const auto spool = Open(0, limits);
  EventUploader uploader(id_, spool.get(), &link_, {},
                         [](const absl::Status& s) { ADD_FAILURE() << s; });
  for (int64_t step = 1; step <= 100; ++step) ASSERT_OK(spool->Append(Step(step)));
  ASSERT_TRUE(spool->WaitUntilEmpty(absl::Seconds(30)));
  const auto events = service_.Events(id_);
  ASSERT_EQ(events.size(), 100u);
  for (int64_t i = 0; i < 100; ++i) EXPECT_EQ(events[i].step().step(), i + 1);
}

TEST_F(EventUploaderTest, StaleAttemptEndsTheUpload) {
  const auto spool = Open();
  service_.MakeStale(id_);
  absl::Notification refused;
  EventUploader uploader(id_, spool.get(), &link_, {}, [&](const absl::Status& status) {
    EXPECT_TRUE(IsStale(status));
    refused.Notify();
  });
  ASSERT_OK(spool->Append(Step(1)));
  EXPECT_TRUE(refused.WaitForNotificationWithTimeout(absl::Seconds(30)));
}

TEST_F(EventUploaderTest, GapThatCannotBeFilledIsAnError) {
  const auto spool = Open(/*acknowledged=*/5);  // the server has nothing
  ASSERT_OK(spool->Append(Step(6)));
  Cancellation cancellation;
  EXPECT_THAT(SendPendingEvents(id_, spool.get(), &link_, {}, &cancellation),
              StatusIs(absl::StatusCode::kDataLoss, "it lost some"));
}

TEST_F(EventUploaderTest, FormerLifesEventsAreDeliveredAndItsFilesRemoved) {
  const std::string attempts = directory_ / "attempts";
  const AttemptDirectory attempt(attempts, id_);
  ASSERT_OK(attempt.Create());
  {
    ASSERT_OK_AND_ASSIGN(const auto spool, EventSpool::Open(attempt.spool(), 0, {}, &metrics_));
    for (int64_t step = 1; step <= 3; ++step) ASSERT_OK(spool->Append(Step(step)));
  }
  ASSERT_OK(DeliverFormerEvents(attempts, &link_, &metrics_, absl::Seconds(20)));
  EXPECT_EQ(service_.Events(id_).size(), 3u);
  EXPECT_THAT(ListAttemptDirectories(attempts), IsEmpty());
}

TEST_F(EventUploaderTest, ServerThatIsAwayDoesNotHoldUpTheNewLife) {
  const std::string attempts = directory_ / "attempts";
  const AttemptDirectory attempt(attempts, id_);
  ASSERT_OK(attempt.Create());
  {
    ASSERT_OK_AND_ASSIGN(const auto spool, EventSpool::Open(attempt.spool(), 0, {}, &metrics_));
    ASSERT_OK(spool->Append(Step(1)));
  }
  service_.SetUnavailable(true);
  ASSERT_OK(DeliverFormerEvents(attempts, &link_, &metrics_, absl::Milliseconds(300)));
  EXPECT_THAT(ListAttemptDirectories(attempts), IsEmpty());
}

}  // namespace
}  // namespace longlora::worker
