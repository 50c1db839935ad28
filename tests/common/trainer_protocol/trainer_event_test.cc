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
      {1.5, StepEvent{1, 2.5, 1e-5, 0.75, 4096, 123.5, 1 << 30}},
      {1.5, EvaluationEvent{5, 1.25, 3.5, 77}},
      {1.5, CheckpointEvent{5, "checkpoints/step-5", 12345}},
      {1.5, WarningEvent{"careful\n\"quoted\""}},
      {1.5, LogEvent{"line", 3}},
      {1.5, ErrorEvent{"OUT_OF_MEMORY", "no"}},
      {1.5, FinishedEvent{10, false, "adapter", "merged"}},
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
