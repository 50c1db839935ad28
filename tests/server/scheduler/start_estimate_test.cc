// Goal: a start is told where it follows from what runs, and nowhere else. Method: small tables.
#include "server/scheduler/start_estimate.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace longlora::server {
namespace {

using ::testing::ElementsAre;

constexpr absl::Duration kUnknown = absl::InfiniteDuration();

EstimatedJob Wants(int count, absl::Duration length = kUnknown) {
  static const std::vector<size_t> kFirstTwo = {0, 1};
  return {&kFirstTwo, count, length};
}

TEST(StartEstimateTest, AJobStartsWhenEnoughDevicesOfOneWorkerAreFree) {
  const std::vector<BusyDevices> pools = {{absl::Minutes(9), absl::Minutes(5)},
                                          {absl::Minutes(2), absl::Minutes(30)}};
  EXPECT_THAT(EstimateStarts(pools, {Wants(2)}), ElementsAre(absl::Minutes(9)));
  EXPECT_THAT(EstimateStarts(pools, {Wants(1)}), ElementsAre(absl::Minutes(2)));
  EXPECT_THAT(EstimateStarts(pools, {Wants(3)}), ElementsAre(kUnknown));
}

TEST(StartEstimateTest, BehindAJobOfUnknownLengthNothingIsTold) {
  const std::vector<BusyDevices> pools = {{absl::Minutes(5)}, {}};
  EXPECT_THAT(EstimateStarts(pools, {Wants(1), Wants(1)}), ElementsAre(absl::Minutes(5), kUnknown));
  EXPECT_THAT(EstimateStarts(pools, {Wants(1, absl::Minutes(7)), Wants(1)}),
              ElementsAre(absl::Minutes(5), absl::Minutes(12)));
}

TEST(StartEstimateTest, DevicesThatTheJobMayNotUseDoNotHelp) {
  EXPECT_THAT(EstimateStarts({{}, {}, {absl::Minutes(1)}}, {Wants(1)}), ElementsAre(kUnknown));
  EXPECT_THAT(EstimateStarts({{kUnknown}, {}}, {Wants(1)}), ElementsAre(kUnknown));
}

}  // namespace
}  // namespace longlora::server
