// Goal: usage counts by device and second, halves with each half-life, and a burst of short
// attempts is not free. Method: figures worked out by hand; the integral against a sum of small
// steps.
#include "server/scheduler/queue_usage.h"

#include <cmath>

#include "gtest/gtest.h"
#include "server/store/timestamps.h"

namespace longlora::server {
namespace {

const absl::Time kNow = absl::FromUnixSeconds(1'700'000'000);
constexpr absl::Duration kHalfLife = absl::Hours(10);

TEST(QueueUsageTest, RecentUseCountsInFullAndOldUseByHalves) {
  EXPECT_NEAR(DecayedUse(2, kNow - absl::Minutes(10), kNow, kNow, kHalfLife), 1200.0, 8.0);
  const double old = DecayedUse(2, kNow - absl::Hours(20) - absl::Minutes(10),
                                kNow - absl::Hours(20), kNow, kHalfLife);
  EXPECT_NEAR(old, 300.0, 2.0);
}

TEST(QueueUsageTest, LongUseIsTheSumOfItsParts) {
  double sum = 0.0;
  for (int i = 0; i < 30 * 3600; ++i) {
    sum += std::exp2(-(i + 0.5) / absl::ToDoubleSeconds(kHalfLife));
  }
  EXPECT_NEAR(DecayedUse(1, kNow - absl::Hours(30), kNow, kNow, kHalfLife), sum, sum * 1e-6);
}

TEST(QueueUsageTest, AnAttemptCountsForAMinuteAtLeast) {
  EXPECT_NEAR(DecayedUse(4, kNow, kNow, kNow, kHalfLife), 240.0, 1e-9);
  EXPECT_NEAR(DecayedUse(4, kNow - absl::Seconds(5), kNow, kNow, kHalfLife), 240.0, 0.1);
}

TEST(QueueUsageTest, EndedAttemptsOfAQueueAddUpInAnyOrder) {
  const auto make = [](absl::Time start, absl::Time end) {
    v1::Attempt attempt;
    *attempt.mutable_start_time() = ToTimestamp(start);
    *attempt.mutable_end_time() = ToTimestamp(end);
    return attempt;
  };
  v1::FineTuneJob job;
  job.mutable_spec()->set_queue("research");
  job.mutable_spec()->mutable_resources()->set_devices_per_node(2);
  const v1::Attempt first = make(kNow - absl::Hours(12), kNow - absl::Hours(9));
  const v1::Attempt second = make(kNow - absl::Hours(3), kNow - absl::Hours(1));
  const double expected =
      DecayedUse(2, kNow - absl::Hours(12), kNow - absl::Hours(9), kNow, kHalfLife) +
      DecayedUse(2, kNow - absl::Hours(3), kNow - absl::Hours(1), kNow, kHalfLife);
  QueueUsage forward(kHalfLife);
  forward.AddEnded(job, first);
  forward.AddEnded(job, second);
  QueueUsage backward(kHalfLife);
  backward.AddEnded(job, second);
  backward.AddEnded(job, first);
  EXPECT_NEAR(forward.At(kNow).at("research"), expected, expected * 1e-9);
  EXPECT_NEAR(backward.At(kNow).at("research"), expected, expected * 1e-9);
  EXPECT_NEAR(forward.At(kNow + kHalfLife).at("research"), expected / 2, expected * 1e-9);
}

}  // namespace
}  // namespace longlora::server
