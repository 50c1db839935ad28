// For how long an attempt may get ready, and a job hold devices. Pure.
#ifndef LONGLORA_SERVER_SCHEDULER_RUN_LIMITS_H_
#define LONGLORA_SERVER_SCHEDULER_RUN_LIMITS_H_

#include <optional>

#include "absl/time/time.h"
#include "longlora/v1/fine_tune_job.pb.h"
#include "server/scheduler/queue_config.h"

namespace longlora::server {

// Reason and message of the eviction of a job with an active attempt that runs for `attempt_time`;
// nullopt: it keeps its limits.
std::optional<v1::Eviction> BrokenLimit(const v1::FineTuneJob& job, absl::Duration attempt_time,
                                        absl::Duration ready_timeout, const QueuesConfig& queues);

}  // namespace longlora::server

#endif  // LONGLORA_SERVER_SCHEDULER_RUN_LIMITS_H_
