// Clears up after the worker's former life before it registers again: ends the trainers it left,
// sends the events it had not delivered, and forgets its attempts. The server then makes new
// attempts of their jobs.
#ifndef LONGLORA_WORKER_AGENT_FORMER_LIFE_H_
#define LONGLORA_WORKER_AGENT_FORMER_LIFE_H_

#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "worker/agent/retry.h"
#include "worker/agent/server_link.h"
#include "worker/metrics/worker_metrics.h"

namespace longlora::worker {

// Returns once no process is left whose environment mark begins with `mark_prefix` or that is
// recorded below `attempts_directory`. DEADLINE_EXCEEDED when the kernel holds one longer than
// `timeout`.
absl::Status EndFormerProcesses(const std::string& attempts_directory,
                                const std::string& mark_prefix, absl::Duration timeout);

// Sends the events that lie in the spools below `attempts_directory`, for at most `timeout`: the
// server drops those it has, and refuses those of an attempt that is no longer the present one.
// Then removes all.
absl::Status DeliverFormerEvents(const std::string& attempts_directory, ServerLink* link,
                                 WorkerMetrics* metrics, absl::Duration timeout,
                                 const RetryPolicy& retry = {});

}  // namespace longlora::worker

#endif  // LONGLORA_WORKER_AGENT_FORMER_LIFE_H_
