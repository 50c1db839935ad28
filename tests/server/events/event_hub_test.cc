// Goal: watchers of a job, and only they, are woken, and never after they left.
// Method: counting callbacks; a race of subscribers against notifications.
#include "server/events/event_hub.h"

#include <atomic>
#include <thread>
#include <utility>
#include <vector>

#include "gtest/gtest.h"

namespace longlora::server {
namespace {

TEST(EventHubTest, EveryWatcherOfTheJobIsWoken) {
  EventHub hub;
  int first = 0, second = 0, other = 0;
  const EventSubscription a = hub.Subscribe("alpha", [&] { ++first; });
  const EventSubscription b = hub.Subscribe("alpha", [&] { ++second; });
  const EventSubscription c = hub.Subscribe("beta", [&] { ++other; });
  hub.Notify("alpha");
  hub.Notify("alpha");
  hub.Notify("gamma");
  EXPECT_EQ(first, 2);
  EXPECT_EQ(second, 2);
  EXPECT_EQ(other, 0);
  hub.NotifyAll();
  EXPECT_EQ(first, 3);
  EXPECT_EQ(second, 3);
  EXPECT_EQ(other, 1);
  EXPECT_EQ(hub.watcher_count(), 3u);
}

TEST(EventHubTest, EndedSubscriptionIsNeverWokenAgain) {
  EventHub hub;
  int woken = 0;
  {
    const EventSubscription subscription = hub.Subscribe("alpha", [&] { ++woken; });
  }
  hub.Notify("alpha");
  EXPECT_EQ(woken, 0);
  EXPECT_EQ(hub.watcher_count(), 0u);
}

TEST(EventHubTest, MovedSubscriptionGoesOnAndReplacedOneEnds) {
  EventHub hub;
  int first = 0, second = 0;
  EventSubscription subscription = hub.Subscribe("alpha", [&] { ++first; });
  EventSubscription moved = std::move(subscription);
  hub.Notify("alpha");
  moved = hub.Subscribe("alpha", [&] { ++second; });
  hub.Notify("alpha");
  EXPECT_EQ(first, 1);
  EXPECT_EQ(second, 1);
}

TEST(EventHubTest, ComingAndGoingWhileNotifiedIsSafe) {
  EventHub hub;
  std::atomic<bool> done = false;
  std::thread notifier([&] {
    while (!done) hub.Notify("alpha");
  });
  std::vector<std::thread> watchers;
  for (int t = 0; t < 4; ++t) {
    watchers.emplace_back([&] {
      for (int i = 0; i < 500; ++i) {
        // Lives on this stack: a late callback would write to a dead variable, which sanitizers
        // see.
        std::atomic<int> woken = 0;
        const EventSubscription subscription = hub.Subscribe("alpha", [&] { ++woken; });
      }
    });
  }
  for (std::thread& watcher : watchers) watcher.join();
  done = true;
  notifier.join();
  EXPECT_EQ(hub.watcher_count(), 0u);
}

}  // namespace
}  // namespace longlora::server
