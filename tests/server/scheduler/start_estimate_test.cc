// Goal: a start is told where it follows from what runs, and nowhere else. Method: small tables.
#include "server/scheduler/start_estimate.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace longlora::server {
namespace {

using ::testing::ElementsAre;

constexpr absl::Duration kUnknown = absl::InfiniteDuration();

EstimatedJob Wants(int count, absl::Duration length = kUnknown) {
  return {"cpu", count, {"a", "b"}, length};
}

TEST(StartEstimateTest, AJobStartsWhenEnoughDevicesOfOneWorkerAreFree) {
  const std::vector<BusyDevice> devices = {{"a", "cpu", absl::Minutes(5)},
                                           {"a", "cpu", absl::Minutes(9)},
                                           {"b", "cpu", absl::Minutes(2)},
                                           {"b", "cpu", absl::Minutes(30)}};
  EXPECT_THAT(EstimateStarts(devices, {Wants(2)}), ElementsAre(absl::Minutes(9)));
  EXPECT_THAT(EstimateStarts(devices, {Wants(1)}), ElementsAre(absl::Minutes(2)));
}

TEST(StartEstimateTest, BehindAJobOfUnknownLengthNothingIsTold) {
  const std::vector<BusyDevice> devices = {{"a", "cpu", absl::Minutes(5)}};
  EXPECT_THAT(EstimateStarts(devices, {Wants(1), Wants(1)}),
              ElementsAre(absl::Minutes(5), kUnknown));
  EXPECT_THAT(EstimateStarts(devices, {Wants(1, absl::Minutes(7)), Wants(1)}),
              ElementsAre(absl::Minutes(5), absl::Minutes(12)));
}

TEST(StartEstimateTest, OtherKindsAndOtherWorkersDoNotHelp) {
  EXPECT_THAT(
      EstimateStarts({{"a", "cuda", absl::Minutes(1)}, {"c", "cpu", absl::Minutes(1)}}, {Wants(1)}),
      ElementsAre(kUnknown));
  EXPECT_THAT(EstimateStarts({{"a", "cpu", kUnknown}}, {Wants(1)}), ElementsAre(kUnknown));
  EXPECT_THAT(EstimateStarts({{"a", "cpu", absl::Minutes(1)}}, {Wants(2)}), ElementsAre(kUnknown));
}

}  // namespace
}  // namespace longlora::server
