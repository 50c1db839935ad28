// How far a job is, put together from the job and its events, and the line that shows it. Used by
// the live view and by the plain lines. Pure: time comes from the events or from the caller.
#ifndef LONGLORA_CLIENT_CLI_PROGRESS_H_
#define LONGLORA_CLIENT_CLI_PROGRESS_H_

#include <optional>
#include <string>

#include "absl/time/time.h"
#include "client/cli/console.h"
#include "longlora/v1/fine_tune_job.pb.h"

namespace longlora::client {

class Progress {
 public:
  // The present state; later events up to job.last_event_sequence are its history and do not set it
  // back.
  void Apply(const v1::FineTuneJob& job);
  void Apply(const v1::JobEvent& event);
  // News about a wait; nothing happens when the job waits no longer.
  void Apply(const v1::ScheduleReason& reason);

  v1::FineTuneJob::State state() const { return state_; }
  // Why a QUEUED job waits, in words; empty otherwise.
  const std::string& waits_for() const { return waits_for_; }
  const std::string& worker() const { return worker_; }
  absl::Time state_since() const { return state_since_; }
  int64_t step() const { return step_; }
  int64_t total_steps() const { return total_steps_; }  // 0: unknown
  double loss() const { return loss_; }
  double tokens_per_second() const { return tokens_per_second_; }
  std::optional<double> first_perplexity() const { return first_perplexity_; }
  std::optional<double> perplexity() const { return perplexity_; }
  // From the pace of the last steps; before there is one, the server's estimate.
  std::optional<absl::Duration> remaining() const;

 private:
  void ApplyStep(const v1::JobEvent& event);

  v1::FineTuneJob::State state_ = v1::FineTuneJob::STATE_UNSPECIFIED;
  int64_t history_until_ = 0;
  std::string waits_for_;
  std::string worker_;
  absl::Time state_since_ = absl::InfinitePast();
  int64_t step_ = 0;
  int64_t total_steps_ = 0;
  double loss_ = 0;
  double tokens_per_second_ = 0;
  std::optional<double> first_perplexity_;
  std::optional<double> perplexity_;
  std::optional<double> server_remaining_seconds_;
  // Pace: seconds a step, smoothed; and the step it was last measured at.
  std::optional<double> step_seconds_;
  int32_t paced_attempt_ = 0;
  int64_t paced_step_ = 0;
  absl::Time paced_time_ = absl::InfinitePast();
};

// "waits for devices: 3 jobs ahead" and the like; empty when `reason` is unset.
std::string DescribeWait(const v1::ScheduleReason& reason);

// The state, a bar and figures in at most `columns` columns; what matters least is left out first.
// No line break.
std::string RenderBar(const Progress& progress, absl::Time now, int columns,
                      const ConsoleStyle& style);

}  // namespace longlora::client

#endif  // LONGLORA_CLIENT_CLI_PROGRESS_H_
