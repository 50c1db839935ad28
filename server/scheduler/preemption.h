// Who makes room for a job: the running jobs of one worker whose end costs the least work. Pure.
//
// A job may take the devices of
//  - queues that use more than their nominal quota, when the job is within its own queue's
//  (reclaim);
//  - jobs of lower priority in its own queue, when the queue is configured so.
// Of each worker the jobs with the least unsaved work (device-seconds since the last checkpoint)
// are taken until there is room, then those that turned out not to be needed are left alone; of the
// workers the one where the loss is least. The jobs are asked for a checkpoint first, so that
// mostly less is lost. None is taken before it ran for min_run_time, so that no two jobs chase each
// other.
#ifndef LONGLORA_SERVER_SCHEDULER_PREEMPTION_H_
#define LONGLORA_SERVER_SCHEDULER_PREEMPTION_H_

#include <optional>
#include <vector>

#include "absl/time/time.h"
#include "server/scheduler/device_pools.h"
#include "server/scheduler/placement.h"
#include "server/scheduler/queue_shares.h"

namespace longlora::server {

struct Room {
  size_t worker = 0;
  std::vector<size_t> victims;  // indices of `running`; empty: the devices come free anyhow
};

class Preemption {
 public:
  // What is pointed to outlives it and is the caller's to change between calls.
  Preemption(const QueuesConfig& config, const std::vector<RunningJob>& running,
             QueueShares& queues, const DevicePools& pools);

  // nullopt: nobody has to make room for the job, or those who have are not enough.
  std::optional<Room> Find(const PlacementRequest& job, const std::vector<size_t>& candidates);
  // The victim leaves; it is nobody's victim any more.
  void Take(size_t victim);
  // Shortest time until one that was spared for min_run_time is spared no more.
  absl::Duration retry_after() const { return retry_after_; }

 private:
  struct Needs {
    int32_t devices = 0;
    int32_t quota = 0;  // devices that the own queue must give up
    bool reclaim = false;
    bool lower_priority = false;
  };
  struct Choice {
    Room room;
    absl::Duration loss;
  };

  std::optional<Choice> FindOn(size_t worker, const PlacementRequest& job, const Needs& needs);
  bool MayTake(const RunningJob& victim, const PlacementRequest& job, const Needs& needs,
               const std::map<absl::string_view, int32_t>& given_up);

  const QueuesConfig& config_;
  const std::vector<RunningJob>& running_;
  QueueShares& queues_;
  const DevicePools& pools_;
  std::map<absl::string_view, std::vector<size_t>> by_worker_;  // running jobs that do not leave
  std::vector<bool> taken_;
  absl::Duration retry_after_ = absl::InfiniteDuration();
};

}  // namespace longlora::server

#endif  // LONGLORA_SERVER_SCHEDULER_PREEMPTION_H_
