// Failures of attempts on their way from where they happen to the server: an absl::Status whose
// ErrorInfo.reason is the API's Failure.reason. Pure functions.
#ifndef LONGLORA_WORKER_AGENT_FAILURE_H_
#define LONGLORA_WORKER_AGENT_FAILURE_H_

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "worker/agent/protos.h"
#include "worker/supervisor/rank_verdict.h"

namespace longlora::worker {

// An error that ends the attempt with `reason`.
absl::Status FailureError(absl::string_view reason, absl::string_view message);

// What is reported for `status`. Errors without a known reason: RESOURCE_EXHAUSTED of this node's
// disk is DISK_FULL, everything else TRANSFER_FAILED.
api::Failure FailureFromStatus(const absl::Status& status);

// What is reported for a failed rank group.
api::Failure FailureFromRanks(const RankFailure& failure);

}  // namespace longlora::worker

#endif  // LONGLORA_WORKER_AGENT_FAILURE_H_
