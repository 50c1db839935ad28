// What one rank writes to its output and error: kept in a file of bounded size, the last lines in
// memory for a failure's message, and passed on as log events at a bounded rate. Not thread-safe.
#ifndef LONGLORA_WORKER_SUPERVISOR_RANK_LOG_H_
#define LONGLORA_WORKER_SUPERVISOR_RANK_LOG_H_

#include <cstdint>
#include <deque>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "common/io/unique_fd.h"
#include "common/time/clock.h"
#include "common/trainer_protocol/trainer_event.h"

namespace longlora::worker {

// What is kept of a line of text: the limit of a log event.
inline constexpr size_t kLogLineBytesMax = 8 << 10;

struct RankLogLimits {
  int64_t file_bytes = 4 << 20;     // of PATH; when full it becomes PATH.1 and a new one begins
  double events_per_second = 10.0;  // in the long run
  double events_burst = 200.0;      // at once
};

class RankLog {
 public:
  // Writes to `path`. A log that cannot be written is done without: training goes on.
  RankLog(int32_t rank, std::string path, RankLogLimits limits, common::Clock* clock);

  // Keeps `line`. Returns the event to pass on; nothing while the rate is exceeded. The first line
  // after that is preceded by a warning that says how many were left out.
  std::vector<common::TrainerEvent> Take(absl::string_view line, bool cut);

  // The last lines, oldest first, joined by line breaks.
  std::string Tail() const;

 private:
  void Write(absl::string_view line);
  double NowSeconds() const;

  const int32_t rank_;
  const std::string path_;
  const RankLogLimits limits_;
  common::Clock* const clock_;
  common::UniqueFd file_;
  int64_t file_bytes_ = 0;
  std::deque<std::string> tail_;
  double tokens_;  // token bucket: lines that may be passed on now
  common::MonotonicTime refilled_;
  int64_t left_out_count_ = 0;
};

}  // namespace longlora::worker

#endif  // LONGLORA_WORKER_SUPERVISOR_RANK_LOG_H_
