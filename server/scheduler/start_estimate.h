// When jobs that wait are likely to start, told from how long those that run will still need. Pure.
// What cannot be told is left open rather than guessed: a job behind one of unknown length has no
// estimate, unless other devices are there for it.
#ifndef LONGLORA_SERVER_SCHEDULER_START_ESTIMATE_H_
#define LONGLORA_SERVER_SCHEDULER_START_ESTIMATE_H_

#include <cstdint>
#include <vector>

#include "absl/time/time.h"

namespace longlora::server {

// Of the devices of one kind of one worker, how long each will still be in use; infinite: cannot be
// told.
using BusyDevices = std::vector<absl::Duration>;

// A job that waits for `count` devices of one of `pools`, which are indices and the caller's.
struct EstimatedJob {
  const std::vector<size_t>* pools = nullptr;
  int32_t count = 1;
  absl::Duration length = absl::InfiniteDuration();  // infinite: cannot be told
};

// Of each job, in the order of placement, the time until it starts; infinite: cannot be told.
std::vector<absl::Duration> EstimateStarts(std::vector<BusyDevices> pools,
                                           const std::vector<EstimatedJob>& jobs);

}  // namespace longlora::server

#endif  // LONGLORA_SERVER_SCHEDULER_START_ESTIMATE_H_
