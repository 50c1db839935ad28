// When jobs that wait are likely to start, told from how long those that run will still need. Pure.
// What cannot be told is left open rather than guessed: a job behind one of unknown length has no
// estimate, unless other devices are there for it.
#ifndef LONGLORA_SERVER_SCHEDULER_START_ESTIMATE_H_
#define LONGLORA_SERVER_SCHEDULER_START_ESTIMATE_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace longlora::server {

// A device of a worker; views are the caller's.
struct BusyDevice {
  absl::string_view worker;
  absl::string_view kind;
  absl::Duration free_in = absl::InfiniteDuration();  // infinite: cannot be told
};

// A job that waits for devices.
struct EstimatedJob {
  absl::string_view kind;
  int32_t count = 1;
  std::vector<absl::string_view> workers;            // that it may run on
  absl::Duration length = absl::InfiniteDuration();  // infinite: cannot be told
};

// Of each job, in the order of placement, the time until it starts; infinite: cannot be told.
std::vector<absl::Duration> EstimateStarts(std::vector<BusyDevice> devices,
                                           const std::vector<EstimatedJob>& jobs);

}  // namespace longlora::server

#endif  // LONGLORA_SERVER_SCHEDULER_START_ESTIMATE_H_
