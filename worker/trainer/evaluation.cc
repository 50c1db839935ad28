#include "worker/trainer/evaluation.h"

#include "common/status/status_macros.h"
#include "worker/trainer/agreement.h"
#include "worker/trainer/batch.h"
#include "worker/trainer/failure.h"
#include "worker/trainer/loss/chunked_cross_entropy.h"

namespace longlora::trainer {

absl::StatusOr<std::optional<EvaluationResult>> Evaluate(const TrainingJob& job) {
  torch::NoGradGuard no_grad;
  const int64_t num_rows = job.validation->num_rows();
  const int64_t world_size = job.group->world_size();
  // fp64 holds the count exactly and travels with the loss.
  torch::Tensor sums = torch::zeros({2}, torch::device(job.device()).dtype(torch::kFloat64));
  for (int64_t first = 0; first < num_rows; first += world_size) {
    LONGLORA_ASSIGN_OR_RETURN(const bool stop, AgreeOnStop(job));
    if (stop) return std::optional<EvaluationResult>();
    const int64_t row = first + job.group->rank();
    if (row >= num_rows) continue;
    const Batch batch = MakeBatch(*job.validation, {row}, BatchAttention{}, job.device());
    const torch::Tensor hidden = job.model->Forward(batch.input, /*checkpoint_activations=*/false);
    sums[0] += ChunkedCrossEntropy(hidden, job.model->lm_head(), batch.labels).sum;
    sums[1] += batch.num_targets;
  }
  LONGLORA_RETURN_IF_ERROR(WithReason(job.group->AllReduceSum({sums}), "PEER_LOST"));
  sums = sums.cpu();
  EvaluationResult result;
  result.targets = static_cast<int64_t>(sums[1].item<double>());
  result.loss = sums[0].item<double>() / sums[1].item<double>();
  return std::optional<EvaluationResult>(result);
}

}  // namespace longlora::trainer
