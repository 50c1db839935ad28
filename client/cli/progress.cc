#include "client/cli/progress.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/cli/format.h"
#include "client/watch.h"

namespace longlora::client {
namespace {

// Share of a new measurement in the pace: about the last ten steps count.
constexpr double kPaceWeight = 0.2;
constexpr int kBarColumnsMax = 40;
constexpr int kBarColumnsMin = 10;

absl::string_view ColourOf(v1::FineTuneJob::State state) {
  switch (state) {
    case v1::FineTuneJob::RUNNING:
    case v1::FineTuneJob::PREPARING:
      return "\x1b[36m";  // cyan
    case v1::FineTuneJob::SUCCEEDED:
      return "\x1b[32m";  // green
    case v1::FineTuneJob::FAILED:
      return "\x1b[31m";  // red
    default:
      return "\x1b[33m";  // yellow
  }
}

std::string Bar(double share, int columns, bool unicode) {
  const int filled = static_cast<int>(std::floor(share * columns));
  std::string bar;
  for (int i = 0; i < columns; ++i) {
    bar += i < filled ? (unicode ? "━" : "=") : (unicode ? "─" : "-");
  }
  return unicode ? bar : absl::StrCat("[", bar, "]");
}

// Cuts plain text to `columns` code points.
std::string Cut(const std::string& text, int columns) {
  std::string result;
  int width = 0;
  for (const char c : text) {
    if ((static_cast<unsigned char>(c) & 0xc0) != 0x80 && ++width > columns) break;
    result.push_back(c);
  }
  return result;
}

// Before the first step there is nothing to draw a bar of.
std::string RenderWaiting(const Progress& progress, absl::Time now) {
  std::string text;
  if (!progress.waits_for().empty()) {
    text = progress.waits_for();
  } else if (progress.state() == v1::FineTuneJob::PREPARING) {
    text = absl::StrCat("on ", progress.worker());
  } else if (progress.state() == v1::FineTuneJob::PAUSED) {
    text = "until it is resumed";
  } else if (progress.state() == v1::FineTuneJob::CANCELLING) {
    text = "until no process of the job is left";
  }
  const bool timed = progress.state_since() != absl::InfinitePast() && !IsFinal(progress.state());
  return absl::StrCat(Printable(text), text.empty() ? "" : "  ",
                      timed ? ShortDuration(now - progress.state_since()) : "");
}

// The figures, the most important first.
std::vector<std::string> Figures(const Progress& progress) {
  std::vector<std::string> figures = {absl::StrCat("loss ", FormatLoss(progress.loss()))};
  const bool running = progress.state() == v1::FineTuneJob::RUNNING;
  if (running && progress.step() == progress.total_steps()) {
    // The last evaluation and the export, whose length nobody knows.
    figures.push_back("finishing");
  } else if (const std::optional<absl::Duration> left = progress.remaining();
             running && left.has_value()) {
    figures.push_back(absl::StrCat(ShortDuration(*left), " left"));
  }
  figures.push_back(absl::StrCat(FormatQuantity(progress.tokens_per_second()), " tokens/s"));
  if (progress.perplexity().has_value()) {
    figures.push_back(absl::StrFormat("ppl %.2f", *progress.perplexity()));
  }
  return figures;
}

// Fits the figures and then the bar between `head` and the last column.
std::string RenderTraining(const Progress& progress, int columns, bool unicode) {
  const int64_t total = progress.total_steps();
  std::string count = absl::StrCat("step ", FormatInteger(progress.step()));
  if (total > 0) absl::StrAppend(&count, "/", FormatInteger(total));
  std::vector<std::string> figures = Figures(progress);
  const auto width = [&] {
    int sum = DisplayWidth(count);
    for (const std::string& figure : figures) sum += 2 + DisplayWidth(figure);
    return sum;
  };
  const int bar_frame = total > 0 ? 2 + (unicode ? 0 : 2) : 0;  // gap and brackets
  const int bar_min = total > 0 ? bar_frame + kBarColumnsMin : 0;
  while (figures.size() > 1 && width() + bar_min > columns) figures.pop_back();
  const int room = columns - width() - bar_frame;
  std::string line;
  if (total > 0 && room >= kBarColumnsMin) {
    const double share =
        std::clamp(static_cast<double>(progress.step()) / static_cast<double>(total), 0.0, 1.0);
    line = absl::StrCat(Bar(share, std::min(room, kBarColumnsMax), unicode), "  ");
  }
  absl::StrAppend(&line, count);
  for (const std::string& figure : figures) absl::StrAppend(&line, "  ", figure);
  return line;
}

}  // namespace

std::string DescribeWait(const v1::ScheduleReason& reason) {
  if (reason.code().empty()) return "";
  std::string text = reason.message().empty() ? reason.code() : reason.message();
  if (reason.jobs_ahead() > 0) {
    absl::StrAppend(&text, "; ", reason.jobs_ahead(), reason.jobs_ahead() == 1 ? " job" : " jobs",
                    " ahead");
  }
  return text;
}

void Progress::Apply(const v1::FineTuneJob& job) {
  if (job.state() != state_) {
    state_ = job.state();
    state_since_ = job.attempts_size() > 0 ? ToTime(job.attempts().rbegin()->start_time())
                                           : ToTime(job.create_time());
  }
  history_until_ = std::max(history_until_, job.last_event_sequence());
  waits_for_ = DescribeWait(job.schedule_reason());
  worker_ = job.attempts_size() > 0 ? job.attempts().rbegin()->worker() : "";
  if (job.spec().training().has_max_steps()) total_steps_ = job.spec().training().max_steps();
  if (!job.has_progress()) return;
  step_ = job.progress().step();
  if (job.progress().total_steps() > 0) total_steps_ = job.progress().total_steps();
  loss_ = job.progress().loss();
  tokens_per_second_ = job.progress().tokens_per_second();
  if (job.progress().has_validation_loss())
    perplexity_ = std::exp(job.progress().validation_loss());
  server_remaining_seconds_.reset();
  if (job.progress().has_remaining_seconds()) {
    server_remaining_seconds_ = job.progress().remaining_seconds();
  }
}

void Progress::Apply(const v1::ScheduleReason& reason) {
  if (state_ == v1::FineTuneJob::QUEUED) waits_for_ = DescribeWait(reason);
}

void Progress::Apply(const v1::JobEvent& event) {
  const bool history = event.sequence() <= history_until_;
  switch (event.body_case()) {
    case v1::JobEvent::kStateChanged:
      if (history) break;
      state_ = event.state_changed().state();
      state_since_ = ToTime(event.event_time());
      if (state_ != v1::FineTuneJob::QUEUED) waits_for_.clear();
      break;
    case v1::JobEvent::kAttemptChanged:
      if (!history) worker_ = event.attempt_changed().worker();
      break;
    case v1::JobEvent::kPrepared:
      total_steps_ = event.prepared().total_steps();
      if (!history) step_ = event.prepared().start_step();
      break;
    case v1::JobEvent::kStep:
      ApplyStep(event);
      break;
    case v1::JobEvent::kEvaluation:
      perplexity_ = event.evaluation().perplexity();
      if (!first_perplexity_.has_value()) first_perplexity_ = perplexity_;
      break;
    default:
      break;
  }
}

void Progress::ApplyStep(const v1::JobEvent& event) {
  const v1::Step& step = event.step();
  const absl::Time time = ToTime(event.event_time());
  if (paced_attempt_ == event.attempt() && step.step() > paced_step_ && time >= paced_time_) {
    const double seconds =
        absl::ToDoubleSeconds(time - paced_time_) / static_cast<double>(step.step() - paced_step_);
    step_seconds_ = step_seconds_.has_value()
                        ? (1 - kPaceWeight) * *step_seconds_ + kPaceWeight * seconds
                        : seconds;
  }
  paced_attempt_ = event.attempt();
  paced_step_ = step.step();
  paced_time_ = time;
  if (event.sequence() <= history_until_) return;
  step_ = step.step();
  loss_ = step.loss();
  tokens_per_second_ = step.tokens_per_second();
}

std::optional<absl::Duration> Progress::remaining() const {
  if (step_seconds_.has_value() && total_steps_ > 0) {
    const int64_t left = std::max<int64_t>(0, total_steps_ - step_);
    return absl::Seconds(*step_seconds_ * static_cast<double>(left));
  }
  if (server_remaining_seconds_.has_value()) return absl::Seconds(*server_remaining_seconds_);
  return std::nullopt;
}

std::string RenderBar(const Progress& progress, absl::Time now, int columns,
                      const ConsoleStyle& style) {
  const std::string state = v1::FineTuneJob::State_Name(progress.state());
  // The last column stays free: writing to it would wrap the line on some terminals.
  const int room = columns - 1 - static_cast<int>(state.size()) - 2;
  const bool training = progress.step() > 0 && progress.state() != v1::FineTuneJob::QUEUED &&
                        progress.state() != v1::FineTuneJob::PREPARING;
  const std::string rest =
      training ? RenderTraining(progress, room, style.unicode) : RenderWaiting(progress, now);
  if (room <= 0) return Cut(state, columns - 1);
  const std::string shown = Cut(rest, room);
  if (!style.colour) return absl::StrCat(state, shown.empty() ? "" : "  ", shown);
  return absl::StrCat(ColourOf(progress.state()), state, "\x1b[0m", shown.empty() ? "" : "  ",
                      shown);
}

}  // namespace longlora::client
