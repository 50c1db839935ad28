// Goal: the best evaluation and the patience are counted as documented, and survive a checkpoint.
// Method: sequences of losses written out by hand.
#include "worker/trainer/validation_record.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "tests/testing/status_matchers.h"

namespace longlora::trainer {
namespace {

TEST(ValidationRecordTest, TheLowestLossIsTheBestAndResetsTheCount) {
  ValidationRecord record;
  EXPECT_FALSE(TakeEvaluation(0, 3.0, record)) << "the untrained model is no result";
  EXPECT_TRUE(TakeEvaluation(10, 2.0, record));
  EXPECT_EQ(record.evaluations_without_gain, 0);
  EXPECT_FALSE(TakeEvaluation(20, 2.0, record)) << "equal is not lower";
  EXPECT_FALSE(TakeEvaluation(30, 2.5, record));
  EXPECT_EQ(record.evaluations_without_gain, 2);
  EXPECT_TRUE(TakeEvaluation(40, 1.5, record));
  EXPECT_EQ(record.evaluations_without_gain, 0);
  EXPECT_EQ(record.best_step, 40);
  EXPECT_EQ(record.lowest_step, 40);
}

TEST(ValidationRecordTest, ARunThatOnlyGetsWorseHasABestOfItsOwnAndNoGain) {
  ValidationRecord record;
  TakeEvaluation(0, 1.0, record);
  EXPECT_TRUE(TakeEvaluation(10, 2.0, record));
  EXPECT_TRUE(TakeEvaluation(20, 1.5, record));
  EXPECT_FALSE(TakeEvaluation(30, 1.75, record));
  EXPECT_EQ(record.best_step, 20);
  EXPECT_EQ(record.lowest_step, 0);
  EXPECT_EQ(record.evaluations_without_gain, 3);
}

TEST(ValidationRecordTest, ALossThatIsNotFiniteIsNeverLower) {
  ValidationRecord record;
  EXPECT_FALSE(TakeEvaluation(0, std::nan(""), record));
  EXPECT_FALSE(TakeEvaluation(10, std::nan(""), record));
  EXPECT_FALSE(TakeEvaluation(20, -std::numeric_limits<double>::infinity(), record));
  EXPECT_EQ(record.evaluations_without_gain, 2);
  EXPECT_TRUE(TakeEvaluation(30, 5.0, record));
}

TEST(ValidationRecordTest, RemembersTheFirstAndTheLastLoss) {
  ValidationRecord record;
  TakeEvaluation(0, 3.0, record);
  TakeEvaluation(10, 2.0, record);
  TakeEvaluation(20, 2.5, record);
  EXPECT_EQ(record.first_loss, 3.0);
  EXPECT_EQ(record.last_loss, 2.5);
  EXPECT_EQ(record.last_step, 20);
  TakeEvaluation(30, std::nan(""), record);
  EXPECT_EQ(record.last_loss, std::nullopt) << "a loss that is none is not told";
}

TEST(ValidationRecordTest, SurvivesACheckpoint) {
  ValidationRecord record;
  EXPECT_EQ(ToJson(*ValidationRecordFromJson(ToJson(record))), ToJson(record));
  TakeEvaluation(0, 1.0, record);
  TakeEvaluation(7, 0.1 + 0.2, record);
  TakeEvaluation(9, 4.0, record);
  ASSERT_OK_AND_ASSIGN(const ValidationRecord again,
                       ValidationRecordFromJson(nlohmann::json::parse(ToJson(record).dump())));
  EXPECT_EQ(ToJson(again), ToJson(record));
  EXPECT_EQ(again.best_loss, record.best_loss);
  EXPECT_EQ(again.best_step, 7);
  EXPECT_EQ(again.lowest_loss, record.lowest_loss);
  EXPECT_EQ(again.evaluations_without_gain, 1);
  EXPECT_FALSE(ValidationRecordFromJson(nlohmann::json::object()).ok());
}

}  // namespace
}  // namespace longlora::trainer
