// Signals reach ranks at different moments; all must act on them at the same step border.
#ifndef LONGLORA_WORKER_TRAINER_AGREEMENT_H_
#define LONGLORA_WORKER_TRAINER_AGREEMENT_H_

#include "absl/status/statusor.h"
#include "worker/trainer/training_job.h"

namespace longlora::trainer {

struct Requests {
  bool stop = false;
  bool checkpoint = false;
};

// What any rank was asked to do (signal_requests.h); the same on every rank. Takes the checkpoint
// request. PEER_LOST when a peer is gone.
absl::StatusOr<Requests> AgreeOnRequests(const TrainingJob& job);

// Only whether to stop; leaves a checkpoint request for later.
absl::StatusOr<bool> AgreeOnStop(const TrainingJob& job);

}  // namespace longlora::trainer

#endif  // LONGLORA_WORKER_TRAINER_AGREEMENT_H_
