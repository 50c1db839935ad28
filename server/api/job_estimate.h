// EstimateFineTuneJob: what memory a job takes, and on which workers it fits. Called by
// fine_tune_service. Keeps nothing; thread-safe.
#ifndef LONGLORA_SERVER_API_JOB_ESTIMATE_H_
#define LONGLORA_SERVER_API_JOB_ESTIMATE_H_

#include "absl/status/statusor.h"
#include "longlora/v1/fine_tune_service.pb.h"
#include "server/scheduler/scheduler.h"

namespace longlora::server {

// INVALID_ARGUMENT (SPEC_INVALID); FAILED_PRECONDITION (MODEL_UNAVAILABLE, MODEL_SHAPE_UNKNOWN,
// MODEL_INVALID).
absl::StatusOr<v1::EstimateFineTuneJobResponse> EstimateJob(
    const v1::EstimateFineTuneJobRequest& request, Scheduler& scheduler);

}  // namespace longlora::server

#endif  // LONGLORA_SERVER_API_JOB_ESTIMATE_H_
