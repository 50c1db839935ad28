// How much of the devices a queue has used, where what is long ago counts less: a device-second
// counts half after each half-life. Pure.
#ifndef LONGLORA_SERVER_SCHEDULER_QUEUE_USAGE_H_
#define LONGLORA_SERVER_SCHEDULER_QUEUE_USAGE_H_

#include <map>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "longlora/v1/fine_tune_job.pb.h"
#include "server/scheduler/placement.h"

namespace longlora::server {

// Device-seconds of `devices` held from `begin` to `end`, as they count at `now`.
double DecayedUse(int devices, absl::Time begin, absl::Time end, absl::Time now,
                  absl::Duration half_life);

// What ended attempts of each queue used.
class QueueUsage {
 public:
  explicit QueueUsage(absl::Duration half_life) : half_life_(half_life) {}

  // Takes in the ended attempts of a job; each attempt once.
  void AddEnded(const v1::FineTuneJob& job, const v1::Attempt& attempt);
  // As it counts at `now`.
  std::map<std::string, double, std::less<>> At(absl::Time now) const;
  absl::Duration half_life() const { return half_life_; }

 private:
  absl::Duration half_life_;
  absl::Time at_ = absl::UnixEpoch();  // when `used_` counts as it says
  std::map<std::string, double, std::less<>> used_;
};

// What every queue has used at `now`: `ended`, and what those that run have had so far.
std::map<std::string, double, std::less<>> UsageAt(absl::Time now, const QueueUsage& ended,
                                                   const std::vector<RunningJob>& running);

}  // namespace longlora::server

#endif  // LONGLORA_SERVER_SCHEDULER_QUEUE_USAGE_H_
