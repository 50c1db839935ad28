// Judges how a rank ended: the typed reason, whose fault it is, and words for people. Pure.
#ifndef LONGLORA_WORKER_SUPERVISOR_RANK_VERDICT_H_
#define LONGLORA_WORKER_SUPERVISOR_RANK_VERDICT_H_

#include <cstdint>
#include <optional>
#include <string>

#include "absl/strings/string_view.h"
#include "common/trainer_protocol/trainer_event.h"
#include "worker/supervisor/process.h"

namespace longlora::worker {

// Whose fault a failure is: the system's is tried again, the job's is not.
enum class Fault { kJob, kSystem };

struct RankFailure {
  std::string reason;   // UPPER_SNAKE, of the API's Failure.reason
  std::string message;  // what happened, and the rank's last words
  Fault fault = Fault::kSystem;
};

// What is known of a rank that ended.
struct RankEnd {
  int32_t rank = 0;
  ProcessExit exit;
  std::optional<common::ErrorEvent> error;  // the first it reported
  std::string last_lines;                   // of its output
  bool oom_kills_rose = false;  // the kernel's count of out-of-memory kills rose while it ran
};

// The fault that goes with a reason; kSystem for an unknown one.
Fault FaultOf(absl::string_view reason);

// Nothing when the rank exited well or stopped as asked.
std::optional<RankFailure> JudgeRank(const RankEnd& end);

// Whether `later` explains more than `first`: a rank that lost its peer only tells that another
// died.
bool Supersedes(const RankFailure& later, const RankFailure& first);

}  // namespace longlora::worker

#endif  // LONGLORA_WORKER_SUPERVISOR_RANK_VERDICT_H_
