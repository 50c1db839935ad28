#include "client/cli/event_lines.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/cli/format.h"
#include "client/resource_name.h"

namespace longlora::client {
namespace {

constexpr int64_t kStepLines = 100;
constexpr absl::Duration kStepLineInterval = absl::Seconds(15);

std::string StateLine(const v1::StateChanged& change, const Progress& progress) {
  const std::string state = v1::FineTuneJob::State_Name(change.state());
  if (change.state() == v1::FineTuneJob::FAILED) {
    return absl::StrCat(state, "  ", DescribeFailure(change.failure()));
  }
  const bool waits = change.state() == v1::FineTuneJob::QUEUED && !progress.waits_for().empty();
  return waits ? absl::StrCat(state, "  ", Printable(progress.waits_for())) : state;
}

std::string AttemptLine(const v1::Attempt& attempt) {
  const std::string who = absl::StrCat("attempt ", attempt.number(), " on ", attempt.worker());
  switch (attempt.state()) {
    case v1::Attempt::ACTIVE:
      if (attempt.has_eviction()) {
        return absl::StrCat(who, " makes a checkpoint and ends, to go on elsewhere: ",
                            Printable(attempt.eviction().message()));
      }
      return attempt.start_step() > 0 ? absl::StrCat(who, ", going on from the checkpoint of step ",
                                                     FormatInteger(attempt.start_step()))
                                      : who;
    case v1::Attempt::FAILED:
      return absl::StrCat(who, " failed: ", DescribeFailure(attempt.failure()));
    default:
      return absl::StrCat(who, " ",
                          absl::AsciiStrToLower(v1::Attempt::State_Name(attempt.state())));
  }
}

std::string PreparedLine(const v1::Prepared& prepared) {
  std::string text = absl::StrCat(
      "prepared: ", FormatQuantity(static_cast<double>(prepared.parameter_count())),
      " parameters, ", FormatQuantity(static_cast<double>(prepared.trainable_parameter_count())),
      " of them and of the adapters train; ", FormatInteger(prepared.training_row_count()),
      " rows, ", FormatInteger(prepared.training_token_count()), " tokens",
      absl::StrFormat(" (%.1f%% filled)", 100.0 * prepared.fill_ratio()), "; ",
      FormatInteger(prepared.total_steps()), " steps");
  if (prepared.start_step() > 0) {
    absl::StrAppend(&text, ", ", FormatInteger(prepared.start_step()), " done already");
  }
  if (prepared.has_dense_start_step()) {
    absl::StrAppend(&text, ", dense attention from step ",
                    FormatInteger(prepared.dense_start_step()));
  }
  if (prepared.has_memory_bytes()) {
    absl::StrAppend(&text, "; needs ", FormatBytes(prepared.memory_bytes()), " a rank");
    if (prepared.has_estimated_memory_bytes()) {
      absl::StrAppend(&text, " (estimated: ", FormatBytes(prepared.estimated_memory_bytes()), ")");
    }
  }
  return text;
}

std::string StepLine(const v1::Step& step, const Progress& progress) {
  std::string text = absl::StrCat("step ", FormatInteger(step.step()));
  if (progress.total_steps() > 0) {
    absl::StrAppend(&text, "/", FormatInteger(progress.total_steps()));
  }
  absl::StrAppend(&text, "  loss ", FormatLoss(step.loss()),
                  absl::StrFormat("  lr %.2e  grad %.3g", step.learning_rate(), step.grad_norm()),
                  "  ", FormatQuantity(step.tokens_per_second()), " tokens/s");
  if (const std::optional<absl::Duration> left = progress.remaining(); left.has_value()) {
    absl::StrAppend(&text, "  ", ShortDuration(*left), " left");
  }
  if (step.skipped()) absl::StrAppend(&text, "  update skipped");
  return text;
}

std::string EvaluationLine(const v1::Evaluation& evaluation) {
  std::string text = absl::StrFormat("validation at step %s: loss %s, perplexity %.2f",
                                     FormatInteger(evaluation.step()),
                                     FormatLoss(evaluation.loss()), evaluation.perplexity());
  if (evaluation.has_training_pattern_loss()) {
    absl::StrAppend(&text, absl::StrFormat(", fidelity gap %+.4f",
                                           evaluation.training_pattern_loss() - evaluation.loss()));
  }
  absl::StrAppend(&text, " (", FormatInteger(evaluation.tokens()), " tokens)");
  for (const v1::PasskeyResult& result : evaluation.passkey()) {
    absl::StrAppend(&text, result.length() == evaluation.passkey(0).length() ? "; passkey " : ", ",
                    result.correct(), "/", result.trials(), " at ", FormatInteger(result.length()));
  }
  return text;
}

std::optional<std::string> FinishedLine(const v1::Finished& finished) {
  std::string text;
  if (!finished.early_stop().empty()) {
    text = absl::StrCat("ended early after step ", FormatInteger(finished.step()), ": ",
                        Printable(finished.early_stop()));
  }
  if (finished.has_weights_step()) {
    absl::StrAppend(&text, text.empty() ? "" : "; ", "the results have the weights of step ",
                    FormatInteger(finished.weights_step()));
  }
  if (text.empty()) return std::nullopt;
  return text;
}

std::optional<std::string> BodyLine(const v1::JobEvent& event, const Progress& progress) {
  switch (event.body_case()) {
    case v1::JobEvent::kStateChanged:
      return StateLine(event.state_changed(), progress);
    case v1::JobEvent::kAttemptChanged:
      return AttemptLine(event.attempt_changed());
    case v1::JobEvent::kPrepared:
      return PreparedLine(event.prepared());
    case v1::JobEvent::kStep:
      return StepLine(event.step(), progress);
    case v1::JobEvent::kEvaluation:
      return EvaluationLine(event.evaluation());
    case v1::JobEvent::kCheckpoint:
      return absl::StrCat("checkpoint of step ", FormatInteger(event.checkpoint().step()),
                          " stored (", FormatBytes(event.checkpoint().size_bytes()), ")");
    case v1::JobEvent::kWarning:
      return absl::StrCat("warning: ", Printable(event.warning().message()));
    case v1::JobEvent::kError:
      return absl::StrCat("error: ", event.error().reason(), ": ",
                          Printable(event.error().message()));
    case v1::JobEvent::kFinished:
      return FinishedLine(event.finished());
    default:
      return std::nullopt;
  }
}

std::string ClockTime(const v1::JobEvent& event, absl::TimeZone zone) {
  return absl::FormatTime("%H:%M:%S", ToTime(event.event_time()), zone);
}

}  // namespace

std::optional<std::string> EventLine(const v1::JobEvent& event, const Progress& progress,
                                     absl::TimeZone zone) {
  std::optional<std::string> body = BodyLine(event, progress);
  if (!body.has_value()) return std::nullopt;
  return absl::StrCat(ClockTime(event, zone), "  ", *body);
}

std::optional<std::string> LogText(const v1::JobEvent& event, absl::TimeZone zone) {
  switch (event.body_case()) {
    case v1::JobEvent::kLog:
      return absl::StrCat(ClockTime(event, zone), "  rank ", event.log().rank(), "  ",
                          Printable(event.log().message()));
    case v1::JobEvent::kWarning:
      return absl::StrCat(ClockTime(event, zone), "  warning  ",
                          Printable(event.warning().message()));
    case v1::JobEvent::kError:
      return absl::StrCat(ClockTime(event, zone), "  error  ", event.error().reason(), ": ",
                          Printable(event.error().message()));
    default:
      return std::nullopt;
  }
}

bool StepFilter::Show(const v1::JobEvent& event, int64_t total_steps) {
  const int64_t step = event.step().step();
  const absl::Time time = ToTime(event.event_time());
  const int64_t stride = std::max<int64_t>(1, (total_steps + kStepLines - 1) / kStepLines);
  const bool show = event.attempt() != attempt_ || shown_step_ == 0 || step == total_steps ||
                    step - shown_step_ >= stride || time - shown_time_ >= kStepLineInterval;
  if (!show) return false;
  attempt_ = event.attempt();
  shown_step_ = step;
  shown_time_ = time;
  return true;
}

std::string DescribeFailure(const v1::Failure& failure) {
  const absl::string_view fault = failure.fault() == v1::Failure::JOB      ? "the job's fault"
                                  : failure.fault() == v1::Failure::SYSTEM ? "the system's fault"
                                                                           : "fault unknown";
  return absl::StrCat(failure.reason(), ": ", Printable(failure.message()), " (", fault, "; ",
                      failure.retried() ? "tried again" : "not tried again", ")");
}

std::string DescribeEnd(const v1::FineTuneJob& job, const Progress& progress) {
  std::string text = absl::StrCat(v1::FineTuneJob::State_Name(job.state()), "  ", job.name());
  if (job.has_start_time() && job.has_end_time()) {
    absl::StrAppend(&text, " after ",
                    ShortDuration(ToTime(job.end_time()) - ToTime(job.start_time())));
  }
  if (job.progress().step() > 0) {
    absl::StrAppend(&text, ": ", FormatInteger(job.progress().step()), " steps, training loss ",
                    FormatLoss(job.progress().loss()));
  }
  if (job.has_failure()) absl::StrAppend(&text, "\n", DescribeFailure(job.failure()));
  if (progress.perplexity().has_value()) {
    absl::StrAppend(&text, "\nvalidation perplexity ");
    if (progress.first_perplexity().has_value() &&
        *progress.first_perplexity() != *progress.perplexity()) {
      absl::StrAppend(&text, absl::StrFormat("%.2f -> ", *progress.first_perplexity()));
    }
    absl::StrAppend(&text, absl::StrFormat("%.2f", *progress.perplexity()));
  }
  return text;
}

std::string NextCommand(const v1::FineTuneJob& job) {
  const absl::string_view id = ShortName(job.name());
  switch (job.state()) {
    case v1::FineTuneJob::SUCCEEDED:
      return absl::StrCat("Next: longlora download ", id, " --to ", id);
    case v1::FineTuneJob::FAILED:
      return absl::StrCat("Next: longlora logs ", id);
    case v1::FineTuneJob::CANCELLED:
      return absl::StrCat("Next: longlora checkpoints ", id);
    default:
      return "";
  }
}

}  // namespace longlora::client
