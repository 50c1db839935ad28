// What a placement told of the jobs that wait, in the order in which they would be placed: why, how
// many are ahead, when each may start. Made in one go, then never changed, so that one who holds
// the scheduler's lock looks a job up and leaves the rest alone. Pure.
#ifndef LONGLORA_SERVER_SCHEDULER_WAITING_LIST_H_
#define LONGLORA_SERVER_SCHEDULER_WAITING_LIST_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "server/scheduler/placement.h"

namespace longlora::server {

class WaitingList {
 public:
  struct Entry {
    int64_t order = 0;                                    // of the job
    int64_t stay = 0;                                     // see PlacementRequest
    absl::Time estimated_start = absl::InfiniteFuture();  // which means: cannot be told
    WaitReason reason = WaitReason::kNoWorker;
    int32_t jobs_ahead = 0;
  };

  WaitingList() = default;
  // `plan` is that of `input`; `now` is when `input` held.
  WaitingList(const PlacementInput& input, const PlacementPlan& plan, absl::Time now);

  const std::vector<Entry>& entries() const { return entries_; }
  // Indices of the entries of a queue.
  const std::vector<uint32_t>& OfQueue(absl::string_view queue) const;
  // nullptr: the placement did not see this stay, or ended it.
  const Entry* Find(int64_t order, int64_t stay) const;
  std::map<WaitReason, int64_t> CountByReason() const;

 private:
  void EstimateStarts(const PlacementInput& input, const PlacementPlan& plan, absl::Time now);

  std::vector<Entry> entries_;
  std::vector<uint32_t> by_order_;  // indices of entries_, by Entry.order
  std::map<std::string, std::vector<uint32_t>, std::less<>> by_queue_;
};

}  // namespace longlora::server

#endif  // LONGLORA_SERVER_SCHEDULER_WAITING_LIST_H_
