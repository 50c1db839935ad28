// Goal: a client gets its burst, then its rate, and nobody else's share. Method: time by hand.
#include "server/api/rate_limit.h"

#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "common/time/fake_clock.h"

namespace longlora::server {
namespace {

// How many of `tries` calls at once are let in.
int Admitted(RateLimit& limit, const std::string& client, int tries) {
  int admitted = 0;
  for (int i = 0; i < tries; ++i) admitted += limit.Take(client) == absl::ZeroDuration();
  return admitted;
}

TEST(RateLimitTest, BurstThenRate) {
  common::FakeClock clock;
  RateLimit limit(10, 5, &clock);
  EXPECT_EQ(Admitted(limit, "a", 20), 5);
  clock.Advance(absl::Milliseconds(300));
  EXPECT_EQ(Admitted(limit, "a", 20), 3);
  clock.Advance(absl::Hours(1));
  EXPECT_EQ(Admitted(limit, "a", 20), 5) << "a pause earns no more than the burst";
}

TEST(RateLimitTest, TellsWhenThereIsRoomAndThenThereIs) {
  common::FakeClock clock;
  for (const double rate : {0.003, 0.7, 3.0, 100.0, 12345.0}) {
    SCOPED_TRACE(rate);
    RateLimit limit(rate, 1, &clock);
    EXPECT_EQ(limit.Take("a"), absl::ZeroDuration());
    for (int i = 0; i < 100; ++i) {
      const absl::Duration wait = limit.Take("a");
      ASSERT_GT(wait, absl::ZeroDuration());
      EXPECT_LE(wait, absl::Seconds(1 / rate) + absl::Milliseconds(1));
      clock.Advance(wait);
      ASSERT_EQ(limit.Take("a"), absl::ZeroDuration()) << i;
    }
  }
}

TEST(RateLimitTest, ClientsDoNotShare) {
  common::FakeClock clock;
  RateLimit limit(1, 2, &clock);
  EXPECT_EQ(Admitted(limit, "greedy", 100), 2);
  EXPECT_EQ(Admitted(limit, "modest", 2), 2);
}

TEST(RateLimitTest, ZeroIsNoLimit) {
  common::FakeClock clock;
  RateLimit limit(0, 1, &clock);
  EXPECT_EQ(Admitted(limit, "a", 1000), 1000);
  EXPECT_EQ(limit.client_count(), 0u);
}

TEST(RateLimitTest, ClientsThatCameOnceAreForgottenAndThoseAtTheirLimitAreNot) {
  common::FakeClock clock;
  RateLimit limit(0.1, 2, &clock);
  int greedy = 0;
  for (int i = 0; i < 100'000; ++i) {
    limit.Take(absl::StrCat("client-", i));
    clock.Advance(absl::Milliseconds(100));
    if (i % 100 == 0) greedy += Admitted(limit, "greedy", 100);
  }
  // A bucket is full again after ten seconds, a hundred clients later.
  EXPECT_LE(limit.client_count(), 2048u);
  EXPECT_LE(greedy, 2 + 100'000 * 0.1 * 0.1) << "a new bucket would hold a burst again";
}

}  // namespace
}  // namespace longlora::server
