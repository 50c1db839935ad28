// Goal: what placement is told of the queue is the queue, after any changes. Method: small tables.
#include "server/scheduler/job_queue.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace longlora::server {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr common::MonotonicTime kStart;

StoredJob MakeStored(int64_t order, int priority = 0) {
  StoredJob job;
  job.id = "job-" + std::to_string(order);
  job.order = order;
  v1::FineTuneSpec& spec = *job.record.mutable_job()->mutable_spec();
  spec.set_base_model("tiny");
  spec.set_queue("research");
  spec.set_priority(priority);
  spec.mutable_method()->set_initial_adapter("/adapters/one");
  spec.mutable_resources()->set_devices_per_node(2);
  spec.mutable_resources()->add_worker_labels("gpu=h100");
  return job;
}

QueueChange Comes(const StoredJob& job, int64_t stay, common::MonotonicTime retry_at = kStart) {
  return {job.order, stay, ToQueueEntry(job, stay, retry_at)};
}
QueueChange Leaves(const StoredJob& job, int64_t stay) { return {job.order, stay, std::nullopt}; }

std::vector<std::pair<int64_t, int64_t>> OrdersAndStays(const JobQueue& queue) {
  std::vector<std::pair<int64_t, int64_t>> jobs;
  for (const PlacementRequest& request : queue.Requests(kStart)) {
    jobs.emplace_back(request.order, request.stay);
  }
  return jobs;
}

TEST(JobQueueTest, ARequestSaysWhatTheSpecAsksFor) {
  JobQueue queue;
  queue.Take({Comes(MakeStored(7, 3), 11)});
  const std::vector<PlacementRequest> requests = queue.Requests(kStart);
  ASSERT_THAT(requests, SizeIs(1));
  EXPECT_EQ(requests[0].id, "job-7");
  EXPECT_EQ(requests[0].queue, "research");
  EXPECT_EQ(requests[0].priority, 3);
  EXPECT_EQ(requests[0].order, 7);
  EXPECT_EQ(requests[0].stay, 11);
  EXPECT_EQ(requests[0].base_model, "tiny");
  EXPECT_EQ(requests[0].initial_adapter, "/adapters/one");
  EXPECT_THAT(requests[0].worker_labels, ElementsAre("gpu=h100"));
  EXPECT_EQ(requests[0].device_kind, "cuda");
  EXPECT_EQ(requests[0].device_count, 2);
}

TEST(JobQueueTest, JobsComeAndGoInTheOrderOfTheChanges) {
  const StoredJob first = MakeStored(1), second = MakeStored(2), third = MakeStored(3);
  JobQueue queue;
  queue.Take({Comes(second, 1), Comes(third, 2), Leaves(second, 1), Comes(first, 3)});
  EXPECT_THAT(OrdersAndStays(queue), ElementsAre(std::pair(1, 3), std::pair(3, 2)));
  queue.Take({Leaves(third, 2), Comes(third, 4), Comes(second, 5)});
  EXPECT_THAT(OrdersAndStays(queue),
              ElementsAre(std::pair(1, 3), std::pair(2, 5), std::pair(3, 4)));
  queue.Take({Leaves(first, 3), Leaves(second, 5), Leaves(third, 4)});
  EXPECT_THAT(OrdersAndStays(queue), IsEmpty());
}

TEST(JobQueueTest, AJobBacksOffUntilItsTime) {
  JobQueue queue;
  queue.Take({Comes(MakeStored(1), 1, kStart + absl::Seconds(5))});
  EXPECT_TRUE(queue.Requests(kStart + absl::Seconds(4)).front().backing_off);
  EXPECT_FALSE(queue.Requests(kStart + absl::Seconds(5)).front().backing_off);
}

}  // namespace
}  // namespace longlora::server
