// One line of text an event, for `watch` and `submit --wait`, and the words for failures and ends
// that `get` uses too. Pure.
#ifndef LONGLORA_CLIENT_CLI_EVENT_LINES_H_
#define LONGLORA_CLIENT_CLI_EVENT_LINES_H_

#include <optional>
#include <string>

#include "absl/time/time.h"
#include "client/cli/progress.h"
#include "longlora/v1/fine_tune_job.pb.h"

namespace longlora::client {

// "04:05:06  step 10/100  loss 2.9812 ..." without line break. `progress` has the event already.
// None for what has no place among progress: lines of the log (see `logs`) and the end of the
// trainer.
std::optional<std::string> EventLine(const v1::JobEvent& event, const Progress& progress,
                                     absl::TimeZone zone);

// "04:05:06  rank 0  text" of a log line, a warning or an error; none for other events.
std::optional<std::string> LogText(const v1::JobEvent& event, absl::TimeZone zone);

// Decides which steps get a line, so that long jobs do not flood: each of a job with at most 100
// steps; of longer ones every hundredth part, and whatever comes 15 s after the last line.
class StepFilter {
 public:
  // Whether `event`, a step, is to be shown. To be called for every step, in order.
  bool Show(const v1::JobEvent& event, int64_t total_steps);

 private:
  int32_t attempt_ = 0;
  int64_t shown_step_ = 0;
  absl::Time shown_time_ = absl::InfinitePast();
};

// "OUT_OF_MEMORY: message (the job's fault; not tried again)".
std::string DescribeFailure(const v1::Failure& failure);

// What became of a final job, with its figures; several lines without a break at the end.
std::string DescribeEnd(const v1::FineTuneJob& job, const Progress& progress);

// What to type next, now that `job` is final; empty when nothing.
std::string NextCommand(const v1::FineTuneJob& job);

}  // namespace longlora::client

#endif  // LONGLORA_CLIENT_CLI_EVENT_LINES_H_
