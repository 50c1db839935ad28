// Goal: delays grow, stay bounded and never overflow. Method: the pure function at its edges.
#include "common/time/backoff.h"

#include "gmock/gmock.h"

namespace longlora::common {
namespace {

TEST(BackoffDelayTest, DoublesUpToTheMaximum) {
  const BackoffPolicy policy{absl::Seconds(1), absl::Seconds(30), 2.0, 0.0};
  EXPECT_EQ(BackoffDelay(policy, 1, 0.5), absl::Seconds(1));
  EXPECT_EQ(BackoffDelay(policy, 2, 0.5), absl::Seconds(2));
  EXPECT_EQ(BackoffDelay(policy, 5, 0.5), absl::Seconds(16));
  EXPECT_EQ(BackoffDelay(policy, 6, 0.5), absl::Seconds(30));
  EXPECT_EQ(BackoffDelay(policy, 1'000'000, 0.5), absl::Seconds(30));
}

TEST(BackoffDelayTest, JitterOnlyShortens) {
  const BackoffPolicy policy{absl::Seconds(10), absl::Seconds(30), 2.0, 0.2};
  EXPECT_EQ(BackoffDelay(policy, 1, 0.0), absl::Seconds(10));
  EXPECT_EQ(BackoffDelay(policy, 1, 0.5), absl::Seconds(9));
}

}  // namespace
}  // namespace longlora::common
