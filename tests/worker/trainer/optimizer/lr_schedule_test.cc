// Goal: the learning rates are those of transformers' schedules. Method: values of
// get_{constant,linear,cosine}_schedule_with_warmup (transformers 5.23, peak 0.1, 4 warm-up steps
// of 10), printed by LambdaLR after k - 1 scheduler steps, which is the rate of update k.
#include "worker/trainer/optimizer/lr_schedule.h"

#include <gtest/gtest.h>

#include <vector>

namespace longlora::trainer {
namespace {

std::vector<double> Rates(common::Schedule schedule, int64_t warmup_steps, int64_t total_steps) {
  common::OptimizerSpec spec;
  spec.learning_rate = 0.1;
  spec.schedule = schedule;
  spec.warmup_steps = warmup_steps;
  std::vector<double> rates;
  for (int64_t step = 1; step <= total_steps; ++step) {
    rates.push_back(LearningRate(spec, step, total_steps));
  }
  return rates;
}

void ExpectRates(const std::vector<double>& actual, const std::vector<double>& expected) {
  ASSERT_EQ(actual.size(), expected.size());
  for (size_t i = 0; i < actual.size(); ++i) {
    EXPECT_NEAR(actual[i], expected[i], 1e-12) << "step " << i + 1;
  }
}

TEST(LrScheduleTest, ConstantStaysAtThePeakAfterTheWarmUp) {
  ExpectRates(Rates(common::Schedule::kConstant, 4, 10),
              {0.0, 0.025, 0.05, 0.075, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1});
}

TEST(LrScheduleTest, LinearFallsTowardsZero) {
  ExpectRates(Rates(common::Schedule::kLinear, 4, 10),
              {0.0, 0.025, 0.05, 0.07500000000000001, 0.1, 0.08333333333333334, 0.06666666666666667,
               0.05, 0.03333333333333333, 0.016666666666666666});
}

TEST(LrScheduleTest, CosineFallsTowardsZero) {
  ExpectRates(Rates(common::Schedule::kCosine, 4, 10),
              {0.0, 0.025, 0.05, 0.07500000000000001, 0.1, 0.09330127018922195, 0.07500000000000001,
               0.05, 0.025000000000000012, 0.006698729810778065});
}

TEST(LrScheduleTest, WithoutWarmUpTheFirstUpdateHasThePeak) {
  for (const auto schedule :
       {common::Schedule::kConstant, common::Schedule::kLinear, common::Schedule::kCosine}) {
    EXPECT_DOUBLE_EQ(Rates(schedule, 0, 3).front(), 0.1);
  }
}

TEST(LrScheduleTest, AWarmUpLongerThanTheJobOnlyRises) {
  ExpectRates(Rates(common::Schedule::kCosine, 8, 3), {0.0, 0.0125, 0.025});
}

}  // namespace
}  // namespace longlora::trainer
