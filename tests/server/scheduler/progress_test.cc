// Goal: progress follows the events of an attempt, with an estimate that needs no memory of its
// own. Method: hand-made events; the expected seconds are worked out beside them.
#include "server/scheduler/progress.h"

#include <cmath>
#include <limits>

#include "gtest/gtest.h"

namespace longlora::server {
namespace {

v1::JobEvent Step(int64_t step, int64_t tokens, double tokens_per_second) {
  v1::JobEvent event;
  event.mutable_step()->set_step(step);
  event.mutable_step()->set_loss(1.5);
  event.mutable_step()->set_tokens(tokens);
  event.mutable_step()->set_tokens_per_second(tokens_per_second);
  event.mutable_step()->set_memory_bytes(100 * step);
  return event;
}

v1::JobEvent Prepared(int64_t total) {
  v1::JobEvent event;
  event.mutable_prepared()->set_total_steps(total);
  return event;
}

TEST(ProgressTest, StepsAddUpAndTheLastOneShows) {
  v1::Progress progress;
  UpdateProgress(Prepared(10), progress);
  UpdateProgress(Step(1, 1000, 500), progress);
  UpdateProgress(Step(2, 1000, 500), progress);
  EXPECT_EQ(progress.step(), 2);
  EXPECT_EQ(progress.total_steps(), 10);
  EXPECT_EQ(progress.tokens(), 2000);
  EXPECT_EQ(progress.memory_peak_bytes(), 200);
  EXPECT_DOUBLE_EQ(progress.remaining_seconds(), 8 * 2.0);
}

TEST(ProgressTest, EstimateMovesByATenthTowardsANewPace) {
  v1::Progress progress;
  UpdateProgress(Prepared(10), progress);
  UpdateProgress(Step(1, 1000, 1000), progress);  // 1 s
  UpdateProgress(Step(2, 1000, 500), progress);   // 2 s: 1 + (2 - 1) / 10 = 1.1 s a step, 8 left
  EXPECT_NEAR(progress.remaining_seconds(), 8.8, 1e-9);
}

TEST(ProgressTest, NoEstimateWithoutALengthOrAPace) {
  v1::Progress progress;
  UpdateProgress(Step(1, 1000, 500), progress);
  EXPECT_FALSE(progress.has_remaining_seconds());
  UpdateProgress(Prepared(10), progress);
  for (const double pace : {0.0, -1.0, std::numeric_limits<double>::infinity(), std::nan("")}) {
    UpdateProgress(Step(2, 1000, pace), progress);
    EXPECT_FALSE(progress.has_remaining_seconds()) << pace;
  }
}

TEST(ProgressTest, LastStepLeavesNothing) {
  v1::Progress progress;
  UpdateProgress(Prepared(1), progress);
  UpdateProgress(Step(1, 1000, 500), progress);
  EXPECT_DOUBLE_EQ(progress.remaining_seconds(), 0.0);
}

TEST(ProgressTest, EvaluationSetsTheValidationLossOnly) {
  v1::Progress progress;
  EXPECT_FALSE(progress.has_validation_loss());
  v1::JobEvent event;
  event.mutable_evaluation()->set_loss(2.5);
  event.mutable_evaluation()->set_step(7);
  UpdateProgress(event, progress);
  EXPECT_DOUBLE_EQ(progress.validation_loss(), 2.5);
  EXPECT_EQ(progress.step(), 0);
  EXPECT_FALSE(progress.has_fidelity_gap());
}

TEST(ProgressTest, TheGapIsWhatTheTrainingPatternLosesMore) {
  v1::Progress progress;
  v1::JobEvent event;
  event.mutable_evaluation()->set_loss(2.5);
  event.mutable_evaluation()->set_training_pattern_loss(2.75);
  UpdateProgress(event, progress);
  EXPECT_DOUBLE_EQ(progress.fidelity_gap(), 0.25);
}

TEST(ProgressTest, SkippedStepsAreThoseTheTrainerCounted) {
  v1::Progress progress;
  v1::JobEvent event = Step(1, 1000, 500);
  event.mutable_step()->set_skipped_steps(3);
  UpdateProgress(event, progress);
  EXPECT_EQ(progress.skipped_steps(), 3);
}

TEST(ProgressTest, OtherEventsChangeNothing) {
  v1::Progress progress;
  v1::JobEvent event;
  event.mutable_log()->set_message("x");
  UpdateProgress(event, progress);
  EXPECT_EQ(progress.ByteSizeLong(), 0u);
}

}  // namespace
}  // namespace longlora::server
