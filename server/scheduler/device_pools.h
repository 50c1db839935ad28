// The devices of all workers during one placement: which are free, which come free, which are kept
// for a job that waits. Plain state of placement.cc; pure.
#ifndef LONGLORA_SERVER_SCHEDULER_DEVICE_POOLS_H_
#define LONGLORA_SERVER_SCHEDULER_DEVICE_POOLS_H_

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "server/scheduler/placement.h"

namespace longlora::server {

// Devices of one kind of a worker.
struct DevicePool {
  int32_t total = 0;
  int32_t free = 0;
  int32_t leaving = 0;
  int32_t reserved = 0;
};

// Jobs that ask for the same: equal for every worker, so decided once.
struct Candidates {
  std::vector<size_t> workers;           // that have what the job asks for, its devices free or not
  std::vector<const DevicePool*> pools;  // of each of them, of the kind that the job asks for
  WaitReason reason = WaitReason::kWaitingForDevices;  // of a job that cannot be placed
  // No worker has enough left. Stays true for the rest of a pass: devices are only taken.
  bool exhausted = false;
  bool reserved = false;  // one of the workers is kept, or need not be
  // Queues whose jobs of this kind found nobody to make room for them, by name.
  std::set<absl::string_view> cannot_preempt;
};

// Whether the job could run there, as far as files and labels go.
bool Suits(const PlacementWorker& worker, const PlacementRequest& job);

class DevicePools {
 public:
  // `running`: what leaves makes its devices come free.
  DevicePools(std::vector<PlacementWorker> workers, const std::vector<RunningJob>& running);

  const std::vector<PlacementWorker>& workers() const { return workers_; }
  Candidates& CandidatesOf(const PlacementRequest& job);
  // The worker for the job among them; nullopt: none has enough that is neither used nor reserved.
  std::optional<size_t> BestFit(const PlacementRequest& job, const Candidates& candidates) const;
  // Takes the job's devices; their ids.
  std::vector<std::string> Take(const PlacementRequest& job, size_t worker);
  // How many devices the job lacks on `worker` once all that leave have left; 0 or less: none.
  int32_t Lacking(const PlacementRequest& job, size_t worker) const;
  // Keeps the job's devices on `worker`.
  void Reserve(const PlacementRequest& job, size_t worker);
  // The same on the nearest worker, unless one of the candidates is kept already.
  void ReserveNearest(const PlacementRequest& job, const Candidates& candidates);
  // A job that has `count` devices of `worker` was asked to end.
  void Leave(size_t worker, absl::string_view kind, int32_t count);

 private:
  using Demand = std::tuple<absl::string_view, absl::string_view, absl::string_view, int32_t,
                            std::vector<absl::string_view>>;
  using Pools = std::map<std::string, DevicePool, std::less<>>;  // by kind

  const DevicePool& PoolOf(size_t worker, absl::string_view kind) const;

  std::vector<PlacementWorker> workers_;  // by id
  std::vector<Pools> pools_;              // of each worker
  std::map<Demand, Candidates> candidates_;
};

}  // namespace longlora::server

#endif  // LONGLORA_SERVER_SCHEDULER_DEVICE_POOLS_H_
