// The thread that keeps a scheduler going when nobody calls it. Started by server/server.cc.
#ifndef LONGLORA_SERVER_SCHEDULER_SCHEDULER_LOOP_H_
#define LONGLORA_SERVER_SCHEDULER_SCHEDULER_LOOP_H_

#include <atomic>

#include "absl/time/time.h"
#include "common/threads/threads.h"
#include "server/scheduler/scheduler.h"

namespace longlora::server {

class SchedulerLoop {
 public:
  // Ticks whenever there is something to place, and every `interval` for leases and back-offs.
  // `scheduler` must outlive the loop.
  SchedulerLoop(Scheduler& scheduler, absl::Duration interval);
  // Ends the thread, within `interval`.
  ~SchedulerLoop();

 private:
  std::atomic<bool> stopping_ = false;
  common::Thread thread_;
};

}  // namespace longlora::server

#endif  // LONGLORA_SERVER_SCHEDULER_SCHEDULER_LOOP_H_
