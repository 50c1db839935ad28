// Goal: the order of rows depends on seed and epoch alone, survives a resume, and does not change
// with the number of ranks. Method: exhaustive small runs compared row by row.
#include "worker/trainer/data/row_sampler.h"

#include <algorithm>
#include <set>

#include "gmock/gmock.h"
#include "tests/testing/status_matchers.h"

namespace longlora::trainer {
namespace {

using ::longlora::testing::StatusIs;
using ::testing::ElementsAre;

RowSampler Make(const SamplerOptions& options) {
  auto sampler = RowSampler::Create(options);
  EXPECT_OK(sampler);
  return *std::move(sampler);
}

// All rows of one step of one rank, in order.
std::vector<int64_t> Flat(const std::vector<std::vector<int64_t>>& step) {
  std::vector<int64_t> rows;
  for (const auto& batch : step) rows.insert(rows.end(), batch.begin(), batch.end());
  return rows;
}

TEST(EpochOrderTest, EveryEpochIsAnotherPermutationOfAllRows) {
  std::set<std::vector<int64_t>> orders;
  for (int64_t seed = 0; seed < 3; ++seed) {
    for (int64_t epoch = 0; epoch < 3; ++epoch) {
      std::vector<int64_t> order = EpochOrder(50, true, seed, epoch);
      EXPECT_EQ(order, EpochOrder(50, true, seed, epoch));
      orders.insert(order);
      std::sort(order.begin(), order.end());
      EXPECT_EQ(order, EpochOrder(50, false, seed, epoch));
    }
  }
  EXPECT_EQ(orders.size(), 9u);
}

// These numbers are a promise: a checkpoint of an older build must find the same rows.
TEST(EpochOrderTest, TheOrderNeverChangesBetweenBuilds) {
  EXPECT_THAT(EpochOrder(8, true, 0, 0), ElementsAre(6, 0, 4, 3, 7, 2, 5, 1));
  EXPECT_THAT(EpochOrder(8, true, 7, 1), ElementsAre(7, 4, 6, 2, 0, 3, 1, 5));
}

TEST(EpochOrderTest, ShufflesAreUnbiased) {
  constexpr int kRounds = 6000;
  int counts[3][3] = {};
  for (int64_t epoch = 0; epoch < kRounds; ++epoch) {
    const std::vector<int64_t> order = EpochOrder(3, true, 1, epoch);
    for (int place = 0; place < 3; ++place) ++counts[place][order[place]];
  }
  for (const auto& place : counts) {
    for (const int count : place)
      EXPECT_NEAR(count, kRounds / 3, 200);  // over five standard deviations
  }
}

TEST(RowSamplerTest, EveryRowComesOncePerEpochAndStepsRunAcrossEpochs) {
  RowSampler sampler = Make({.num_rows = 5, .micro_batch_size = 2});
  std::vector<int64_t> rows;
  for (int step = 0; step < 5; ++step) {
    for (const int64_t row : Flat(sampler.NextStep())) rows.push_back(row);
  }
  ASSERT_EQ(rows.size(), 10u);
  EXPECT_TRUE(
      std::is_permutation(rows.begin(), rows.begin() + 5, EpochOrder(5, false, 0, 0).begin()));
  EXPECT_TRUE(
      std::is_permutation(rows.begin() + 5, rows.end(), EpochOrder(5, false, 0, 0).begin()));
}

TEST(RowSamplerTest, ResumeAtAnyStepEqualsAnUndisturbedRun) {
  const SamplerOptions options = {.num_rows = 7,
                                  .seed = 3,
                                  .micro_batch_size = 2,
                                  .accumulation_steps = 2,
                                  .rank = 1,
                                  .world_size = 2};
  RowSampler undisturbed = Make(options);
  std::vector<std::vector<std::vector<int64_t>>> steps;
  std::vector<SamplerState> states;
  for (int step = 0; step < 12; ++step) {
    states.push_back(undisturbed.state());
    steps.push_back(undisturbed.NextStep());
  }
  for (size_t from = 0; from < states.size(); ++from) {
    RowSampler resumed = Make(options);
    ASSERT_OK_AND_ASSIGN(const SamplerState state, SamplerStateFromJson(ToJson(states[from])));
    ASSERT_OK(resumed.Restore(state));
    for (size_t step = from; step < steps.size(); ++step)
      EXPECT_EQ(resumed.NextStep(), steps[step]);
  }
}

TEST(RowSamplerTest, RanksSeeTogetherWhatOneRankWithMoreAccumulationSees) {
  for (const int64_t world_size : {2, 4}) {
    const SamplerOptions base = {
        .num_rows = 11, .seed = 5, .micro_batch_size = 2, .accumulation_steps = 3};
    SamplerOptions one = base;
    one.accumulation_steps = base.accumulation_steps * world_size;
    RowSampler single = Make(one);
    std::vector<RowSampler> ranks;
    for (int64_t rank = 0; rank < world_size; ++rank) {
      SamplerOptions mine = base;
      mine.rank = rank;
      mine.world_size = world_size;
      ranks.push_back(Make(mine));
    }
    for (int step = 0; step < 6; ++step) {
      const auto expected = single.NextStep();
      for (int64_t rank = 0; rank < world_size; ++rank) {
        const auto mine = ranks[rank].NextStep();
        ASSERT_EQ(mine.size(), 3u);
        for (size_t batch = 0; batch < mine.size(); ++batch) {
          EXPECT_EQ(mine[batch], expected[batch * world_size + rank]);
        }
        EXPECT_EQ(ToJson(ranks[rank].state()), ToJson(single.state()));
      }
    }
  }
}

TEST(RowSamplerTest, StepsForEpochsRoundUp) {
  const RowSampler sampler = Make({.num_rows = 30, .micro_batch_size = 3});
  EXPECT_EQ(sampler.StepsForEpochs(1.0), 10);
  EXPECT_EQ(sampler.StepsForEpochs(0.1), 1);
  EXPECT_EQ(sampler.StepsForEpochs(1.01), 11);
  EXPECT_EQ(sampler.StepsForEpochs(0.001), 1);
}

TEST(RowSamplerTest, ForeignPositionsAreRefused) {
  RowSampler sampler = Make({.num_rows = 5});
  EXPECT_THAT(sampler.Restore({.epoch = 0, .position = 0, .num_rows = 6}),
              StatusIs(absl::StatusCode::kFailedPrecondition, "6 training rows"));
  EXPECT_THAT(sampler.Restore({.epoch = 0, .position = 6, .num_rows = 5}),
              StatusIs(absl::StatusCode::kFailedPrecondition, "impossible data position"));
  EXPECT_THAT(SamplerStateFromJson({{"epoch", 1}}),
              StatusIs(absl::StatusCode::kInvalidArgument, "position"));
  EXPECT_THAT(RowSampler::Create({.num_rows = 0}),
              StatusIs(absl::StatusCode::kInvalidArgument, "positive"));
}

}  // namespace
}  // namespace longlora::trainer
