// Goal: people see who waits in which place, why and for how long, and what a job's devices did.
// Method: messages by hand, whole texts.
#include <gtest/gtest.h>

#include "client/cli/format.h"
#include "client/cli/views.h"
#include "google/protobuf/util/time_util.h"

namespace longlora::client {
namespace {

using ::google::protobuf::util::TimeUtil;

TEST(QueueViewsTest, QueuesTellDevicesSharesAndJobs) {
  v1::ListQueuesResponse queues;
  v1::Queue& research = *queues.add_queues();
  research.set_name("queues/research");
  research.set_configured(true);
  research.set_weight(2.5);
  research.set_weighted_usage(5400);
  research.set_running_job_count(3);
  research.set_queued_job_count(2);
  v1::DeviceQuota& quota = *research.add_quotas();
  quota.set_kind("cuda");
  quota.set_used(10);
  quota.set_nominal(8);
  quota.set_borrowing_limit(4);
  v1::Queue& gone = *queues.add_queues();
  gone.set_name("queues/gone");
  gone.set_weight(1);
  v1::DeviceQuota& unlimited = *gone.add_quotas();
  unlimited.set_kind("cpu");
  EXPECT_EQ(RenderQueues(queues),
            "QUEUE                  DEVICES                      WEIGHT  WEIGHTED USAGE  "
            "RUNNING  WAITING\n"
            "research               cuda 10 used, 8 nominal + 4  2.5     1.5 h           "
            "3        2\n"
            "gone (not configured)  cpu 0 used, 0 nominal + any  1       0.0 h           "
            "0        0\n");
}

TEST(QueueViewsTest, QueuesTellWhatTheirDevicesDid) {
  v1::ListQueuesResponse queues;
  v1::Queue& queue = *queues.add_queues();
  queue.set_name("queues/research");
  queue.set_configured(true);
  queue.mutable_ledger()->set_training(30);
  queue.mutable_ledger()->set_recomputed(10);
  const std::string text = RenderQueues(queues);
  EXPECT_EQ(text.substr(text.find("\n\n") + 2), "QUEUE     SINCE THE SERVER STARTED\nresearch  " +
                                                    DescribeLedger(queue.ledger()) + "\n");
}

TEST(QueueViewsTest, WaitingJobsTellPlaceReasonAndStart) {
  const absl::Time now = absl::FromUnixSeconds(1'700'000'000);
  v1::ListQueuedJobsResponse jobs;
  v1::QueuedJob& job = *jobs.add_jobs();
  job.set_place(4);
  job.set_job("fineTuneJobs/books-abcd1234");
  job.set_queue("research");
  job.set_priority(-2);
  job.set_device_count(8);
  job.set_device_kind("cuda");
  *job.mutable_create_time() = TimeUtil::SecondsToTimestamp(1'700'000'000 - 120);
  job.mutable_reason()->set_code("WAITING_FOR_DEVICES");
  job.mutable_reason()->set_message("waits");
  *job.mutable_reason()->mutable_estimated_start_time() =
      TimeUtil::SecondsToTimestamp(1'700'000'000 + 3600);
  const std::string text = RenderQueuedJobs(jobs, now);
  EXPECT_EQ(text,
            "PLACE  JOB             QUEUE     PRIORITY  DEVICES  AGE    STARTS    WAITS FOR\n"
            "4      books-abcd1234  research  -2        8 cuda   " +
                ShortDuration(absl::Minutes(2)) + "  in " + ShortDuration(absl::Hours(1)) +
                "  WAITING_FOR_DEVICES: waits\n");
}

TEST(QueueViewsTest, TheLedgerIsToldInSharesLargestUsesFirst) {
  v1::DeviceLedger ledger;
  EXPECT_EQ(DescribeLedger(ledger), "");
  ledger.set_training(75);
  ledger.set_preparing(15);
  ledger.set_stalled(10);
  EXPECT_EQ(DescribeLedger(ledger), ShortDuration(absl::Seconds(100)) +
                                        " of devices: training 75%, preparing 15%, stalled 10%");
}

}  // namespace
}  // namespace longlora::client
