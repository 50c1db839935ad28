#include "server/scheduler/run_limits.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/scheduler/placement.h"
#include "server/store/timestamps.h"

namespace longlora::server {
namespace {

v1::Eviction MakeEviction(const char* reason, std::string message) {
  v1::Eviction eviction;
  eviction.set_reason(reason);
  eviction.set_message(std::move(message));
  return eviction;
}

// The shorter of the job's own and its queue's.
absl::Duration MaxDurationOf(const v1::FineTuneSpec& spec, const QueuesConfig& queues) {
  absl::Duration longest = absl::InfiniteDuration();
  if (spec.resources().max_duration_seconds() > 0) {
    longest = absl::Seconds(spec.resources().max_duration_seconds());
  }
  const QueueConfig* queue = queues.Find(QueueOf(spec));
  if (queue != nullptr && queue->max_duration.has_value()) {
    longest = std::min(longest, *queue->max_duration);
  }
  return longest;
}

}  // namespace

std::optional<v1::Eviction> BrokenLimit(const v1::FineTuneJob& job, absl::Duration attempt_time,
                                        absl::Duration ready_timeout, const QueuesConfig& queues) {
  if (job.state() == v1::FineTuneJob::PREPARING && attempt_time > ready_timeout) {
    return MakeEviction("READY_TIMEOUT", absl::StrCat("its ranks were not ready ",
                                                      absl::FormatDuration(ready_timeout),
                                                      " after they were given devices"));
  }
  const absl::Duration longest = MaxDurationOf(job.spec(), queues);
  if (longest == absl::InfiniteDuration()) return std::nullopt;
  absl::Duration held = attempt_time;
  for (const v1::Attempt& attempt : job.attempts()) {
    if (!attempt.has_end_time()) continue;
    held += FromTimestamp(attempt.end_time()) - FromTimestamp(attempt.start_time());
  }
  if (held < longest) return std::nullopt;
  return MakeEviction(
      "MAX_DURATION_EXCEEDED",
      absl::StrCat("it held devices for ", absl::FormatDuration(longest),
                   ", as long as it may (resources.max_duration_seconds, or its queue's "
                   "max_duration); its checkpoints stay, a new job may have more time"));
}

}  // namespace longlora::server
