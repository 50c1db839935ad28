// How far an attempt is, out of its events. Pure; kept beside the job in the store, so that neither
// an optimizer step rewrites the job nor a restart reads the log again.
#ifndef LONGLORA_SERVER_SCHEDULER_PROGRESS_H_
#define LONGLORA_SERVER_SCHEDULER_PROGRESS_H_

#include "longlora/v1/fine_tune_job.pb.h"

namespace longlora::server {

// Takes in the next event of the attempt; events of other kinds change nothing. remaining_seconds
// follows the smoothed duration of optimizer steps; evaluations and checkpoints to come are not in
// it.
void UpdateProgress(const v1::JobEvent& event, v1::Progress& progress);

}  // namespace longlora::server

#endif  // LONGLORA_SERVER_SCHEDULER_PROGRESS_H_
