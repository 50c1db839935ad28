// Goal: each job that waits is told what the plan says of it, and only of the stay that was
// planned. Method: a small world, planned for real.
#include "server/scheduler/waiting_list.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/scheduler/placement.h"

namespace longlora::server {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Pair;
using ::testing::UnorderedElementsAre;

const absl::Time kNow = absl::UnixEpoch() + absl::Hours(1);

PlacementRequest MakeRequest(absl::string_view queue, int64_t order, int devices) {
  PlacementRequest job;
  job.id = "job";
  job.queue = queue;
  job.order = order;
  job.stay = 100 + order;
  job.base_model = "tiny";
  job.device_kind = "cpu";
  job.device_count = devices;
  return job;
}

// A worker of two devices, which a job of five more minutes has; three jobs of two queues wait.
class WaitingListTest : public ::testing::Test {
 protected:
  WaitingListTest() {
    config_.queues["other"] = QueueConfig();
    input_.queues = &config_;
    input_.workers = {{"w", {"tiny"}, {}, {{"cpu:0", "cpu", true}, {"cpu:1", "cpu", true}}}};
    RunningJob running;
    running.id = "running";
    running.worker = "w";
    running.device_kind = "cpu";
    running.device_count = 2;
    running.remaining = absl::Minutes(5);
    input_.running = {running};
    input_.jobs = {MakeRequest("default", 1, 2), MakeRequest("other", 2, 1),
                   MakeRequest("default", 3, 4)};
    list_ = WaitingList(input_, PlanPlacement(input_), kNow);
  }
  QueuesConfig config_;
  PlacementInput input_;
  WaitingList list_;
};

TEST_F(WaitingListTest, EachStayIsFoundWithItsReason) {
  ASSERT_NE(list_.Find(1, 101), nullptr);
  EXPECT_EQ(list_.Find(1, 101)->reason, WaitReason::kWaitingForDevices);
  EXPECT_EQ(list_.Find(3, 103)->reason, WaitReason::kNoDevices);
  EXPECT_EQ(list_.Find(1, 102), nullptr) << "another stay";
  EXPECT_EQ(list_.Find(4, 104), nullptr);
  EXPECT_EQ(WaitingList().Find(1, 101), nullptr);
  EXPECT_THAT(list_.CountByReason(), UnorderedElementsAre(Pair(WaitReason::kWaitingForDevices, 2),
                                                          Pair(WaitReason::kNoDevices, 1)));
}

TEST_F(WaitingListTest, EntriesAreInTheOrderOfPlacementAndByQueue) {
  ASSERT_EQ(list_.entries().size(), 3U);
  std::vector<int64_t> of_default;
  for (const uint32_t index : list_.OfQueue("default")) {
    of_default.push_back(list_.entries()[index].order);
  }
  EXPECT_THAT(of_default, ElementsAre(1, 3));
  ASSERT_EQ(list_.OfQueue("other").size(), 1U);
  EXPECT_EQ(list_.entries()[list_.OfQueue("other")[0]].order, 2);
  EXPECT_THAT(list_.OfQueue("nobody"), IsEmpty());
}

TEST_F(WaitingListTest, AStartIsToldWhereItFollowsFromWhatRuns) {
  EXPECT_EQ(list_.Find(1, 101)->estimated_start, kNow + absl::Minutes(5));
  EXPECT_EQ(list_.Find(2, 102)->estimated_start, absl::InfiniteFuture())
      << "behind a job of unknown length";
  EXPECT_EQ(list_.Find(3, 103)->estimated_start, absl::InfiniteFuture());
}

}  // namespace
}  // namespace longlora::server
