// Goal: a job trains with the rotation its model and its wish call for, and never with one nobody
// chose. Method: models with each kind of scaling in their config.json, asked for each kind, below
// and beyond what they reach; the numbers are in parity with transformers in tests/parity.
#include "worker/trainer/model/job_rope.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "tests/testing/status_matchers.h"

namespace longlora::trainer {
namespace {

using common::RopeScalingSpec;
using common::RopeType;
using ::longlora::testing::StatusIs;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

common::ModelConfig Model(common::RotaryConfig rope = {}, int64_t max_positions = 4096,
                          int64_t original = 0) {
  common::ModelConfig config;
  config.head_dim = 64;
  config.max_position_embeddings = max_positions;
  config.original_max_position_embeddings = original > 0 ? original : max_positions;
  rope.original_length = original;
  config.rope = std::move(rope);
  return config;
}

// As Llama-3.1-8B.
common::ModelConfig Llama31() {
  return Model({.kind = common::RotaryKind::kLlama3, .theta = 5e5, .factor = 8.0}, 131072, 8192);
}

common::RotaryConfig Rope(const common::ModelConfig& config, const RopeScalingSpec& asked,
                          int64_t length) {
  const auto job = JobRope(config, asked, length);
  EXPECT_OK(job);
  return job.ok() ? job->rope : common::RotaryConfig();
}

TEST(JobRopeTest, LinearStretchesToTheRowAndNeverShrinks) {
  EXPECT_EQ(Rope(Model(), {}, 16384),
            (common::RotaryConfig{.kind = common::RotaryKind::kLinear, .factor = 4.0}));
  EXPECT_EQ(Rope(Model(), {}, 2048), common::RotaryConfig());
  EXPECT_EQ(Rope(Model(), {.factor = 3.0}, 16384).factor, 3.0);
  const common::ModelConfig stretched = Model({.kind = common::RotaryKind::kLinear, .factor = 8.0});
  EXPECT_EQ(Rope(stretched, {}, 16384).factor, 8.0);
  EXPECT_EQ(Rope(stretched, {.factor = 1.0}, 4096), common::RotaryConfig());
}

TEST(JobRopeTest, ByDefaultAScalingOfTheFileStandsAsFarAsItReaches) {
  EXPECT_EQ(Rope(Llama31(), {}, 131072), Llama31().rope);
  EXPECT_THAT(JobRope(Llama31(), {}, 131073),
              StatusIs(absl::StatusCode::kInvalidArgument, "llama3 position embedding reaches"));
  const common::ModelConfig yarn =
      Model({.kind = common::RotaryKind::kYarn, .factor = 4.0}, 4096, 4096);
  EXPECT_EQ(Rope(yarn, {}, 16384), yarn.rope);
  EXPECT_THAT(JobRope(yarn, {}, 16385), StatusIs(absl::StatusCode::kInvalidArgument, "16384"));
}

TEST(JobRopeTest, AWishReplacesTheFilesScalingAloudFromTheOriginalLength) {
  const auto job = JobRope(Llama31(), {.type = RopeType::kYarn}, 262144);
  ASSERT_OK(job);
  EXPECT_EQ(job->rope.kind, common::RotaryKind::kYarn);
  EXPECT_EQ(job->rope.factor, 32.0);
  EXPECT_EQ(job->rope.original_length, 8192);
  EXPECT_EQ(job->rope.theta, 5e5);
  EXPECT_THAT(job->warning, HasSubstr("replaces the model's own llama3 scaling"));
}

TEST(JobRopeTest, YarnOfAYarnKeepsItsParametersAndStandsWhereItReaches) {
  const common::ModelConfig yarn = Model(
      {.kind = common::RotaryKind::kYarn, .factor = 4.0, .attention_factor = 1.5, .beta_fast = 16},
      16384, 4096);
  EXPECT_EQ(Rope(yarn, {.type = RopeType::kYarn}, 16384), yarn.rope);
  const auto wider = JobRope(yarn, {.type = RopeType::kYarn}, 32768);
  ASSERT_OK(wider);
  EXPECT_EQ(wider->rope.factor, 8.0);
  EXPECT_EQ(wider->rope.beta_fast, 16.0);
  EXPECT_FALSE(wider->rope.attention_factor.has_value());  // it belonged to the other factor
  EXPECT_THAT(wider->warning, IsEmpty());
}

TEST(JobRopeTest, DynamicIsFixedAtTheRowAsALargerBase) {
  const common::RotaryConfig fixed =
      Rope(Model(), {.type = RopeType::kDynamic, .factor = 2.0}, 8192);
  EXPECT_EQ(fixed.kind, common::RotaryKind::kDefault);
  EXPECT_DOUBLE_EQ(fixed.theta, 10000.0 * std::pow(2.0 * 2.0 - 1.0, 64.0 / 62.0));
  const common::ModelConfig dynamic = Model({.kind = common::RotaryKind::kDynamic, .factor = 2.0});
  EXPECT_EQ(Rope(dynamic, {}, 8192), fixed);
  EXPECT_EQ(Rope(dynamic, {}, 4096), dynamic.rope);
}

TEST(JobRopeTest, LongRopeKeepsTheListOfTheRowsLength) {
  common::ModelConfig config = Model({.kind = common::RotaryKind::kLongRope,
                                      .factor = 32.0,
                                      .short_factor = std::vector<double>(32, 1.0),
                                      .long_factor = std::vector<double>(32, 2.0)},
                                     131072, 4096);
  EXPECT_EQ(Rope(config, {}, 4096), config.rope);
  EXPECT_EQ(Rope(config, {}, 4097).short_factor, config.rope.long_factor);
}

TEST(JobRopeTest, DefaultKeepsTheFilesAndWarnsBeyondItsReach) {
  const auto inside = JobRope(Llama31(), {.type = RopeType::kDefault}, 131072);
  ASSERT_OK(inside);
  EXPECT_THAT(inside->warning, IsEmpty());
  const auto beyond = JobRope(Llama31(), {.type = RopeType::kDefault}, 262144);
  ASSERT_OK(beyond);
  EXPECT_EQ(beyond->rope, Llama31().rope);
  EXPECT_THAT(beyond->warning, HasSubstr("reaches 131072 tokens"));
}

TEST(JobRopeTest, AScalingThatTheExportedModelCouldNotCarryIsRefused) {
  common::ModelConfig phi3 = Model();
  phi3.model_type = "phi3";
  phi3.longrope_only = true;
  EXPECT_THAT(JobRope(phi3, {}, 8192), StatusIs(absl::StatusCode::kInvalidArgument,
                                                "no linear scaling for model type phi3"));
  EXPECT_OK(JobRope(phi3, {.type = RopeType::kDynamic}, 8192));
  EXPECT_OK(JobRope(phi3, {}, 4096));
}

}  // namespace
}  // namespace longlora::trainer
