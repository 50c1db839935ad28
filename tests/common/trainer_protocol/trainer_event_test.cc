// Goal: what a trainer says is what the supervisor reads. Method: every type there and back; broken
// lines.
#include "common/trainer_protocol/trainer_event.h"

#include <cmath>

#include "gmock/gmock.h"
#include "tests/testing/status_matchers.h"

namespace longlora::common {
namespace {

using ::longlora::testing::StatusIs;

TEST(TrainerEventTest, EveryTypeSurvivesTheWay) {
  const std::vector<TrainerEvent> events = {
      {1.5, PreparedEvent{10, 2, 100, 20, 3, 4, 5, 0.5}},
      {1.5, PreparedEvent{10, 2, 100, 20, 3, 4, 5, 0.5, 1 << 30, 9}},
      {1.5, PreparedEvent{10, 2, 100, 20, 3, 4, 5, 0.5, 1 << 30, 9, 1 << 29}},
      {1.5, StepEvent{1, 2.5, 1e-5, 0.75, 4096, 123.5, 1 << 30}},
      {1.5, StepEvent{1, 2.5, 1e-5, 0.75, 4096, 123.5, 1 << 30, true, 3}},
      {1.5, EvaluationEvent{5, 1.25, 3.5, 77}},
      {1.5,
       EvaluationEvent{5, 1.25, 3.5, 77, 1.5, {{0, 8, 2.0, 40}, {8, 16, 0.5, 37}}, {{128, 5, 4}}}},
      {1.5, CheckpointEvent{5, "checkpoints/step-5", 12345}},
      {1.5, CheckpointEvent{5, "checkpoints/step-5", 12345, true}},
      {1.5, WarningEvent{"careful\n\"quoted\""}},
      {1.5, LogEvent{"line", 3}},
      {1.5, ErrorEvent{"OUT_OF_MEMORY", "no"}},
      {1.5, FinishedEvent{10, false, "adapter", "merged"}},
      {1.5, FinishedEvent{10, false, "adapter", "", 5, "no lower loss"}},
  };
  for (const TrainerEvent& event : events) {
    const std::string line = FormatTrainerEvent(event);
    EXPECT_EQ(line.find('\n'), std::string::npos);
    ASSERT_OK_AND_ASSIGN(const TrainerEvent again, ParseTrainerEvent(line));
    EXPECT_EQ(again.body.index(), event.body.index());
    EXPECT_EQ(FormatTrainerEvent(again), line);
  }
}

TEST(TrainerEventTest, AStepReadsAsDocumented) {
  EXPECT_EQ(FormatTrainerEvent({0.0, StepEvent{1, 2.0, 0.5, 1.0, 8, 4.0, 0}}),
            R"({"type":"step","time":0.0,"step":1,"loss":2.0,"learning_rate":0.5,"grad_norm":1.0,)"
            R"("tokens":8,"tokens_per_second":4.0,"memory_bytes":0})");
}

TEST(TrainerEventTest, ListsReadAsDocumented) {
  EXPECT_EQ(FormatTrainerEvent({0.0, EvaluationEvent{.step = 2,
                                                     .loss = 1.0,
                                                     .perplexity = 2.0,
                                                     .tokens = 3,
                                                     .training_pattern_loss = 1.5,
                                                     .buckets = {{0, 8, 1.0, 3}},
                                                     .passkey = {{128, 5, 4}}}}),
            R"({"type":"evaluation","time":0.0,"step":2,"loss":1.0,"perplexity":2.0,"tokens":3,)"
            R"("training_pattern_loss":1.5,"buckets":[{"begin":0,"end":8,"loss":1.0,"tokens":3}],)"
            R"("passkey":[{"length":128,"trials":5,"correct":4}]})");
}

TEST(TrainerEventTest, BrokenListsAreErrors) {
  const std::string head =
      R"({"type":"evaluation","time":0,"step":2,"loss":1,"perplexity":2,"tokens":3,)";
  for (const char* rest : {R"("buckets":1})", R"("buckets":[1]})", R"("buckets":[{"begin":0}]})",
                           R"("passkey":[{"length":"x","trials":5,"correct":4}]})",
                           R"("training_pattern_loss":[]})"}) {
    EXPECT_THAT(ParseTrainerEvent(head + rest), StatusIs(absl::StatusCode::kInvalidArgument, ""))
        << rest;
  }
}

TEST(TrainerEventTest, NumbersThatAreNoneSurviveToo) {
  StepEvent step;
  step.loss = std::nan("");
  step.grad_norm = -INFINITY;
  ASSERT_OK_AND_ASSIGN(const TrainerEvent again,
                       ParseTrainerEvent(FormatTrainerEvent({0.0, step})));
  EXPECT_TRUE(std::isnan(std::get<StepEvent>(again.body).loss));
  EXPECT_EQ(std::get<StepEvent>(again.body).grad_norm, -INFINITY);
}

TEST(TrainerEventTest, TextThatIsNotUtf8DoesNotThrow) {
  EXPECT_OK(ParseTrainerEvent(FormatTrainerEvent({0.0, LogEvent{"\xff\xfe", 0}})));
}

TEST(TrainerEventTest, UnknownKeysAreIgnored) {
  EXPECT_OK(ParseTrainerEvent(R"({"type":"warning","time":1,"message":"m","new":[1]})"));
}

TEST(TrainerEventTest, BrokenLinesAreErrors) {
  for (const char* line :
       {"", "x", "[]", "{}", R"({"type":1})", R"({"type":"nap","time":1})", R"({"type":"warning"})",
        R"({"type":"warning","time":1})", R"({"type":"warning","time":1,"message":5})",
        R"({"type":"log","time":1,"message":"m","rank":99999999999})",
        R"({"type":"log","time":1,"message":"m","rank":1.5})"}) {
    EXPECT_THAT(ParseTrainerEvent(line), StatusIs(absl::StatusCode::kInvalidArgument, "")) << line;
  }
}

}  // namespace
}  // namespace longlora::common
