// What an operator may set of the scheduler. Plain values.
#ifndef LONGLORA_SERVER_SCHEDULER_SCHEDULER_OPTIONS_H_
#define LONGLORA_SERVER_SCHEDULER_SCHEDULER_OPTIONS_H_

#include <cstdint>

#include "absl/time/time.h"
#include "common/time/backoff.h"
#include "server/scheduler/queue_config.h"

namespace longlora::server {

struct SchedulerOptions {
  // How long a worker may go on without an OK from Synchronize.
  absl::Duration lease_duration = absl::Seconds(30);
  // From the end of a lease until its jobs are given away; must exceed the time a worker needs to
  // kill its ranks.
  absl::Duration lease_grace = absl::Seconds(15);
  // SynchronizeResponse.next_call_delay.
  absl::Duration synchronize_interval = absl::Seconds(1);
  // A worker unheard of for so long, and without an attempt, is forgotten together with its models.
  absl::Duration worker_retention = absl::Hours(24);
  // Attempts in a row that a fault of the system may end, without a new checkpoint, before the job
  // fails.
  int32_t failed_attempts_max = 3;
  // Wait before another attempt. No jitter: jobs wait for devices, not for a service.
  common::BackoffPolicy back_off = {absl::Seconds(1), absl::Minutes(5), 2.0, 0.0};
  // From the assignment of an attempt until all its ranks are ready; one that takes longer is taken
  // back and tried again.
  absl::Duration ready_timeout = absl::Hours(2);
  // Who may use how many devices.
  QueuesConfig queues;
  // Jobs that are not final; more are refused with RESOURCE_EXHAUSTED (QUEUE_FULL).
  int64_t live_jobs_max = 100'000;
};

}  // namespace longlora::server

#endif  // LONGLORA_SERVER_SCHEDULER_SCHEDULER_OPTIONS_H_
