// The jobs that wait, as placement is told of them: a copy of what it needs, which follows the
// scheduler's own by their changes. So a pass over a long queue holds the scheduler's lock for as
// long as there are changes, not for as long as there are jobs. Plain state; pure.
#ifndef LONGLORA_SERVER_SCHEDULER_JOB_QUEUE_H_
#define LONGLORA_SERVER_SCHEDULER_JOB_QUEUE_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "common/time/clock.h"
#include "server/scheduler/placement.h"
#include "server/store/stored_job.h"

namespace longlora::server {

// What a job wants of a worker and of a queue: the same for many.
struct Demand {
  std::string queue;
  std::string base_model;
  std::string initial_adapter;
  std::vector<std::string> worker_labels;
  std::string device_kind;
  int32_t device_count = 1;

  friend auto operator<=>(const Demand&, const Demand&) = default;
};

// A job that waits. Each time it comes to wait is another stay.
struct QueueEntry {
  std::string job;  // id
  int64_t stay = 0;
  int32_t priority = 0;
  common::MonotonicTime retry_at;  // not placed before
  Demand demand;
};

QueueEntry ToQueueEntry(const StoredJob& job, int64_t stay, common::MonotonicTime retry_at);

struct QueueChange {
  int64_t order = 0;  // the job's
  int64_t stay = 0;
  std::optional<QueueEntry> entry;  // unset: the stay is over
};

class JobQueue {
 public:
  // In the order in which they happened.
  void Take(std::vector<QueueChange> changes);
  // By order of creation. Views live until the next Take.
  std::vector<PlacementRequest> Requests(common::MonotonicTime now) const;

 private:
  struct Waiting {
    std::string job;
    int64_t stay = 0;
    int32_t priority = 0;
    common::MonotonicTime retry_at;
    std::map<Demand, int64_t>::iterator demand;  // into demands_
  };

  void Add(int64_t order, QueueEntry entry);
  void Remove(int64_t order);

  std::map<int64_t, Waiting> waiting_;  // by order
  std::map<Demand, int64_t> demands_;   // how many of waiting_ have each
};

}  // namespace longlora::server

#endif  // LONGLORA_SERVER_SCHEDULER_JOB_QUEUE_H_
