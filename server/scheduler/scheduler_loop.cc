#include "server/scheduler/scheduler_loop.h"

namespace longlora::server {

SchedulerLoop::SchedulerLoop(Scheduler& scheduler, absl::Duration interval)
    : thread_([this, &scheduler, interval] {
        while (!stopping_) {
          scheduler.AwaitWork(interval);
          scheduler.Tick();
        }
      }) {}

SchedulerLoop::~SchedulerLoop() {
  stopping_ = true;
  thread_.join();
}

}  // namespace longlora::server
