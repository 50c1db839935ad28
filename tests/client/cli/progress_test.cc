// Goal: the bar and the figures behind it follow the job, forwards only, at every width. Method:
// events with fixed times, golden lines.
#include "client/cli/progress.h"

#include "client/cli/event_lines.h"
#include "client/cli/format.h"
#include "gmock/gmock.h"

namespace longlora::client {
namespace {

constexpr int64_t kStart = 1'700'000'000;

v1::JobEvent StepAt(int64_t sequence, int64_t step, int64_t seconds, int32_t attempt = 1) {
  v1::JobEvent event;
  event.set_sequence(sequence);
  event.set_attempt(attempt);
  event.mutable_event_time()->set_seconds(kStart + seconds);
  event.mutable_step()->set_step(step);
  event.mutable_step()->set_loss(3.0 - 0.01 * static_cast<double>(step));
  event.mutable_step()->set_tokens_per_second(12'345);
  return event;
}

v1::JobEvent StateAt(int64_t sequence, v1::FineTuneJob::State state, int64_t seconds) {
  v1::JobEvent event;
  event.set_sequence(sequence);
  event.mutable_event_time()->set_seconds(kStart + seconds);
  event.mutable_state_changed()->set_state(state);
  return event;
}

v1::JobEvent EvaluationAt(int64_t sequence, double perplexity) {
  v1::JobEvent event;
  event.set_sequence(sequence);
  event.mutable_evaluation()->set_perplexity(perplexity);
  return event;
}

absl::Time At(int64_t seconds) { return absl::FromUnixSeconds(kStart + seconds); }

// RUNNING at step 40 of 100, two seconds a step.
Progress Running() {
  Progress progress;
  v1::FineTuneJob job;
  job.set_state(v1::FineTuneJob::PREPARING);
  job.mutable_spec()->mutable_training()->set_max_steps(100);
  progress.Apply(job);
  progress.Apply(StateAt(1, v1::FineTuneJob::RUNNING, 0));
  for (int step = 1; step <= 40; ++step) progress.Apply(StepAt(1 + step, step, 2 * step));
  return progress;
}

TEST(ProgressTest, TimeLeftFollowsThePaceOfTheSteps) {
  EXPECT_EQ(Running().remaining(), absl::Seconds(120));
}

TEST(ProgressTest, PauseBetweenAttemptsIsNotPace) {
  Progress progress = Running();
  progress.Apply(StepAt(50, 31, 5000, 2));
  progress.Apply(StepAt(51, 32, 5002, 2));
  EXPECT_EQ(progress.step(), 32);
  EXPECT_EQ(progress.remaining(), absl::Seconds(136));
}

TEST(ProgressTest, HistoryDoesNotSetTheJobBack) {
  Progress progress;
  v1::FineTuneJob job;
  job.set_state(v1::FineTuneJob::RUNNING);
  job.set_last_event_sequence(50);
  job.mutable_progress()->set_step(48);
  job.mutable_progress()->set_total_steps(100);
  progress.Apply(job);
  progress.Apply(StateAt(1, v1::FineTuneJob::QUEUED, 0));
  progress.Apply(StepAt(3, 1, 10));
  EXPECT_EQ(progress.state(), v1::FineTuneJob::RUNNING);
  EXPECT_EQ(progress.step(), 48);
  progress.Apply(StepAt(51, 49, 20));
  EXPECT_EQ(progress.step(), 49);
}

TEST(ProgressTest, ReasonOfAWaitIsDroppedWhenTheJobNoLongerWaits) {
  Progress progress;
  v1::FineTuneJob job;
  job.set_state(v1::FineTuneJob::QUEUED);
  job.mutable_schedule_reason()->set_code("WAITING_FOR_DEVICES");
  job.mutable_schedule_reason()->set_message("all 8 devices are busy");
  job.mutable_schedule_reason()->set_jobs_ahead(2);
  progress.Apply(job);
  EXPECT_EQ(progress.waits_for(), "all 8 devices are busy; 2 jobs ahead");
  progress.Apply(StateAt(2, v1::FineTuneJob::PREPARING, 1));
  progress.Apply(job.schedule_reason());
  EXPECT_EQ(progress.waits_for(), "");
}

TEST(RenderBarTest, LeavesOutWhatMattersLeastWhenNarrow) {
  Progress progress = Running();
  progress.Apply(EvaluationAt(60, 18.5));
  const std::map<int, std::string> kLines = {
      {120,
       "RUNNING  [================------------------------]  step 40/100  loss 2.6000  2m00s left  "
       "12.3k tokens/s  ppl 18.50"},
      {90,
       "RUNNING  [=====--------]  step 40/100  loss 2.6000  2m00s left  12.3k tokens/s  ppl 18.50"},
      {80, "RUNNING  [=====---------]  step 40/100  loss 2.6000  2m00s left  12.3k tokens/s"},
      {60, "RUNNING  [====------]  step 40/100  loss 2.6000  2m00s left"},
      {30, "RUNNING  step 40/100  loss 2.6"},
      {8, "RUNNING"},
  };
  for (const auto& [columns, line] : kLines) {
    const std::string rendered = RenderBar(progress, At(80), columns, {});
    EXPECT_LT(DisplayWidth(rendered), columns);
    EXPECT_EQ(rendered, line.substr(0, static_cast<size_t>(columns - 1))) << columns;
  }
}

TEST(RenderBarTest, NeverWiderThanTheTerminal) {
  Progress progress = Running();
  progress.Apply(EvaluationAt(60, 18.5));
  for (int columns = 1; columns < 200; ++columns) {
    for (const bool unicode : {false, true}) {
      EXPECT_LT(DisplayWidth(RenderBar(progress, At(80), columns,
                                       {.live = true, .colour = false, .unicode = unicode})),
                std::max(columns, 2));
    }
  }
}

TEST(RenderBarTest, ColourAndUnicodeOnlyWhenAllowed) {
  const std::string fancy =
      RenderBar(Running(), At(80), 100, {.live = true, .colour = true, .unicode = true});
  EXPECT_THAT(fancy, ::testing::StartsWith("\x1b[36mRUNNING\x1b[0m  ━━━━"));
  const std::string plain = RenderBar(Running(), At(80), 100, {.live = true});
  EXPECT_EQ(plain.find('\x1b'), std::string::npos);
  for (const char c : plain) EXPECT_LT(static_cast<unsigned char>(c), 0x80);
}

TEST(RenderBarTest, BeforeTheFirstStepSaysWhatIsWaitedForAndHowLong) {
  Progress progress;
  v1::FineTuneJob job;
  job.set_state(v1::FineTuneJob::QUEUED);
  job.mutable_create_time()->set_seconds(kStart);
  job.mutable_schedule_reason()->set_code("NO_WORKER");
  job.mutable_schedule_reason()->set_message("no worker is connected");
  progress.Apply(job);
  EXPECT_EQ(RenderBar(progress, At(75), 80, {}), "QUEUED  no worker is connected  1m15s");
  v1::JobEvent attempt;
  attempt.set_sequence(2);
  attempt.mutable_attempt_changed()->set_worker("workers/w1");
  progress.Apply(attempt);
  progress.Apply(StateAt(3, v1::FineTuneJob::PREPARING, 80));
  EXPECT_EQ(RenderBar(progress, At(90), 80, {}), "PREPARING  on workers/w1  10s");
}

TEST(RenderBarTest, AfterTheLastStepTheJobIsFinishing) {
  Progress progress = Running();
  progress.Apply(StepAt(50, 100, 200));
  EXPECT_EQ(RenderBar(progress, At(210), 60, {}),
            "RUNNING  [==========]  step 100/100  loss 2.0000  finishing");
}

TEST(StepFilterTest, ShortJobsShowEveryStep) {
  StepFilter filter;
  for (int step = 1; step <= 100; ++step) {
    EXPECT_TRUE(filter.Show(StepAt(step, step, 0), 100)) << step;
  }
}

TEST(StepFilterTest, LongFastJobsShowAHundredthPartAndTheEnds) {
  StepFilter filter;
  std::vector<int64_t> shown;
  for (int step = 1; step <= 5000; ++step) {
    if (filter.Show(StepAt(step, step, step / 100), 5000)) shown.push_back(step);
  }
  EXPECT_EQ(shown.size(), 101u);
  EXPECT_EQ(shown[0], 1);
  EXPECT_EQ(shown[1], 51);
  EXPECT_EQ(shown.back(), 5000);
}

TEST(StepFilterTest, SlowJobsShowSomethingEveryQuarterOfAMinute) {
  StepFilter filter;
  int shown = 0;
  for (int step = 1; step <= 100; ++step)
    shown += filter.Show(StepAt(step, step, 5 * step), 100'000);
  EXPECT_EQ(shown, 34);
}

TEST(StepFilterTest, NewAttemptShowsItsFirstStep) {
  StepFilter filter;
  EXPECT_TRUE(filter.Show(StepAt(1, 500, 0), 5000));
  EXPECT_FALSE(filter.Show(StepAt(2, 501, 0), 5000));
  EXPECT_TRUE(filter.Show(StepAt(3, 401, 1, 2), 5000));
}

}  // namespace
}  // namespace longlora::client
