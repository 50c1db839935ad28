// Goal: watchers of every job are woken again and again. Method: counting callbacks.
#include "server/events/event_poll.h"

#include "absl/time/clock.h"
#include "gtest/gtest.h"

namespace longlora::server {
namespace {

TEST(EventPollTest, WatchersOfEveryJobAreWokenAgainAndAgain) {
  EventHub hub;
  absl::Mutex mutex;
  int first = 0, second = 0;
  const EventSubscription a = hub.Subscribe("alpha", [&] {
    absl::MutexLock lock(&mutex);
    ++first;
  });
  const EventSubscription b = hub.Subscribe("beta", [&] {
    absl::MutexLock lock(&mutex);
    ++second;
  });
  const EventPoll poll(&hub, absl::Milliseconds(1));
  const auto both_thrice = [&] { return first >= 3 && second >= 3; };
  absl::MutexLock lock(&mutex);
  EXPECT_TRUE(mutex.AwaitWithTimeout(absl::Condition(&both_thrice), absl::Seconds(30)));
}

TEST(EventPollTest, EndsAtOnceHoweverLongItWaits) {
  EventHub hub;
  const absl::Time begin = absl::Now();
  {
    const EventPoll poll(&hub, absl::Hours(1));
  }
  EXPECT_LT(absl::Now() - begin, absl::Minutes(1));
}

}  // namespace
}  // namespace longlora::server
