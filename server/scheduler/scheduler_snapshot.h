// What the scheduler tells about itself at one moment, for metrics to render. Plain values.
#ifndef LONGLORA_SERVER_SCHEDULER_SCHEDULER_SNAPSHOT_H_
#define LONGLORA_SERVER_SCHEDULER_SCHEDULER_SNAPSHOT_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "longlora/v1/fine_tune_job.pb.h"
#include "longlora/v1/queue_service.pb.h"

namespace longlora::server {

// A job with an attempt at present.
struct LiveJobSnapshot {
  std::string id;
  std::string worker;  // id
  int32_t attempt = 0;
  v1::FineTuneJob::State state = v1::FineTuneJob::STATE_UNSPECIFIED;
  v1::Progress progress;
  std::optional<absl::Time> last_checkpoint_time;  // unset: none yet
};

struct DeviceCount {
  int64_t total = 0;  // of connected workers
  int64_t used = 0;
};

// Counters start at 0 with the server and only rise.
struct SchedulerCounters {
  int64_t jobs_submitted = 0;
  std::map<std::string, int64_t>
      attempts_ended;  // by SUCCEEDED, CANCELLED, or the failure's reason
  std::map<std::string, int64_t> events_recorded;   // by JobEvent body, like "step"; every type
  std::map<std::string, v1::DeviceLedger> ledgers;  // of ended attempts, by queue
  int64_t jobs_preempted = 0;
  int64_t steps_trained = 0;
  int64_t tokens_trained = 0;
  int64_t stale_messages_refused = 0;  // fenced off
  int64_t store_failures = 0;
};

struct SchedulerSnapshot {
  std::map<v1::FineTuneJob::State, int64_t> jobs_by_state;  // every state, also those with 0 jobs
  std::map<std::string, int64_t> queued_by_reason;          // ScheduleReason.code; every code
  std::optional<absl::Time> oldest_queued_time;  // creation of the job that waits longest
  int64_t workers_connected = 0;
  int64_t workers_lost = 0;
  std::map<std::string, DeviceCount> devices;  // by kind
  std::vector<LiveJobSnapshot> live_jobs;
  std::vector<v1::Queue> queues;
  SchedulerCounters counters;
};

}  // namespace longlora::server

#endif  // LONGLORA_SERVER_SCHEDULER_SCHEDULER_SNAPSHOT_H_
