// What `get`, `list`, `queue`, `workers`, `estimate` and `checkpoints` show to people. Pure: `now`
// gives the ages.
#ifndef LONGLORA_CLIENT_CLI_VIEWS_H_
#define LONGLORA_CLIENT_CLI_VIEWS_H_

#include <string>
#include <vector>

#include "absl/time/time.h"
#include "longlora/v1/fine_tune_job.pb.h"
#include "longlora/v1/fine_tune_service.pb.h"
#include "longlora/v1/queue_service.pb.h"
#include "longlora/v1/worker_directory_service.pb.h"

namespace longlora::client {

// One job in sections: state, progress, why it waits or failed, attempts, spec.
std::string RenderJob(const v1::FineTuneJob& job, absl::Time now, absl::TimeZone zone);

// One line a job.
std::string RenderJobs(const std::vector<v1::FineTuneJob>& jobs, absl::Time now);

// One line a worker, with its devices and models.
std::string RenderWorkers(const v1::ListWorkersResponse& workers, absl::Time now);

// One line a queue, and one a job that waits (queue_views.cc).
std::string RenderQueues(const v1::ListQueuesResponse& queues);
std::string RenderQueuedJobs(const v1::ListQueuedJobsResponse& jobs, absl::Time now);

// The shares of the device time of a job; empty when there is none yet.
std::string DescribeLedger(const v1::DeviceLedger& ledger);

// One line a part of the memory and their sum; then one line a worker, when there are any.
std::string RenderEstimate(const v1::EstimateFineTuneJobResponse& estimate);

// One line a checkpoint.
std::string RenderCheckpoints(const v1::ListCheckpointsResponse& checkpoints, absl::Time now);

}  // namespace longlora::client

#endif  // LONGLORA_CLIENT_CLI_VIEWS_H_
