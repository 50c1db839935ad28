#include "worker/trainer/agreement.h"

#include "common/status/status_macros.h"
#include "worker/trainer/failure.h"
#include "worker/trainer/signal_requests.h"

namespace longlora::trainer {
namespace {

absl::StatusOr<Requests> Agree(const TrainingJob& job, const Requests& own) {
  if (job.group->world_size() == 1) return own;
  torch::Tensor votes =
      torch::tensor({int64_t{own.stop}, int64_t{own.checkpoint}}, torch::kInt64).to(job.device());
  LONGLORA_RETURN_IF_ERROR(WithReason(job.group->AllReduceSum({votes}), "PEER_LOST"));
  votes = votes.cpu();
  return Requests{.stop = votes[0].item<int64_t>() > 0, .checkpoint = votes[1].item<int64_t>() > 0};
}

}  // namespace

absl::StatusOr<Requests> AgreeOnRequests(const TrainingJob& job) {
  return Agree(job, {.stop = StopRequested(), .checkpoint = TakeCheckpointRequest()});
}

absl::StatusOr<bool> AgreeOnStop(const TrainingJob& job) {
  LONGLORA_ASSIGN_OR_RETURN(const Requests agreed, Agree(job, {.stop = StopRequested()}));
  return agreed.stop;
}

}  // namespace longlora::trainer
