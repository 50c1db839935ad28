// What each queue uses during one placement, what it may use, and whose turn it is. Plain state of
// placement.cc; pure.
#ifndef LONGLORA_SERVER_SCHEDULER_QUEUE_SHARES_H_
#define LONGLORA_SERVER_SCHEDULER_QUEUE_SHARES_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <tuple>

#include "absl/strings/string_view.h"
#include "server/scheduler/placement.h"

namespace longlora::server {

// An attempt counts for at least so long, so that a burst of starts is not taken for no use.
inline constexpr double kUsageSecondsMin = 60.0;

// One queue's use of one kind of device.
struct QuotaUse {
  int32_t nominal = 0;
  std::optional<int32_t> limit;  // nominal and borrowed; unset: none
  int32_t used = 0;              // by jobs that run, also those that leave
  int32_t staying = 0;           // by those that do not leave
  int32_t promised = 0;          // to jobs for which room is being made
  bool blocked = false;          // a job waits for the quota: none behind it may overtake it

  bool Allows(int32_t count) const {
    return !limit.has_value() || used + promised + count <= *limit;
  }
  // Whether so many more are within what the queue can always have.
  bool Entitled(int32_t count) const { return staying + promised + count <= nominal; }
};

struct QueueShare {
  std::string name;
  const QueueConfig* config = nullptr;  // nullptr: no longer configured
  double weighted_usage = 0.0;
  std::map<std::string, QuotaUse, std::less<>> uses;  // by kind
  int32_t quota_waiters = 0;

  QuotaUse& UseOf(absl::string_view kind);
  // Jobs of the queue got so many devices.
  void Charge(int32_t count);
};

class QueueShares {
 public:
  explicit QueueShares(const PlacementInput& input);

  // Makes one that is not configured if need be.
  QueueShare& Find(absl::string_view name);

 private:
  QueueShare& Make(absl::string_view name, const PlacementInput& input);

  const PlacementInput& input_;
  std::map<std::string, QueueShare, std::less<>> shares_;
};

// Less: comes first. Whether its next job borrows, the queue's usage, its name.
using Turn = std::tuple<bool, double, absl::string_view>;
Turn TurnOf(QueueShare& queue, const PlacementRequest& next);

}  // namespace longlora::server

#endif  // LONGLORA_SERVER_SCHEDULER_QUEUE_SHARES_H_
