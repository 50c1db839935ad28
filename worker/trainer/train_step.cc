#include "worker/trainer/train_step.h"

#include <cmath>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/status/status_macros.h"
#include "worker/trainer/batch.h"
#include "worker/trainer/failure.h"
#include "worker/trainer/loss/chunked_cross_entropy.h"
#include "worker/trainer/optimizer/grad_clip.h"
#include "worker/trainer/optimizer/lr_schedule.h"

namespace longlora::trainer {
namespace {

LossSum ForwardLoss(const TrainingJob& job, const Batch& batch, bool checkpoint_activations) {
  const torch::Tensor hidden = job.model->Forward(batch.input, checkpoint_activations);
  return ChunkedCrossEntropy(hidden, job.model->lm_head(), batch.labels);
}

// Tokens and targets of a step over all ranks.
struct StepCounts {
  int64_t tokens = 0;
  int64_t targets = 0;
};

absl::StatusOr<StepCounts> CountStep(TrainingJob& job, const std::vector<Batch>& batches) {
  StepCounts counts;
  for (const Batch& batch : batches) {
    counts.tokens += batch.num_tokens;
    counts.targets += batch.num_targets;
  }
  torch::Tensor sum =
      torch::tensor({counts.tokens, counts.targets}, torch::kInt64).to(job.device());
  LONGLORA_RETURN_IF_ERROR(job.group->AllReduceSum({sum}));
  sum = sum.cpu();
  return StepCounts{.tokens = sum[0].item<int64_t>(), .targets = sum[1].item<int64_t>()};
}

// The step's gradients, zeros where the loss did not reach a parameter, in the optimizer's order.
std::vector<torch::Tensor> TakeGradients(TrainingJob& job) {
  std::vector<torch::Tensor> gradients;
  for (Parameter& parameter : job.trained) {
    torch::Tensor& gradient = parameter.value.mutable_grad();
    gradients.push_back(gradient.defined() ? gradient : torch::zeros_like(parameter.value));
    // The next step's backward then starts afresh.
    gradient = torch::Tensor();
  }
  return gradients;
}

}  // namespace

absl::StatusOr<StepResult> TrainStep(TrainingJob& job) {
  const int64_t step = job.step + 1;
  std::vector<Batch> batches;
  for (const std::vector<int64_t>& rows : job.sampler->NextStep()) {
    batches.push_back(MakeBatch(*job.training, rows,
                                StepAttention(job.spec(), step, job.total_steps), job.device()));
  }
  // The mean is over the targets of all ranks, so their number comes before the first backward.
  absl::StatusOr<StepCounts> counts = CountStep(job, batches);
  if (!counts.ok()) return WithReason(counts.status(), "PEER_LOST");

  const double scale = 1.0 / static_cast<double>(counts->targets);
  torch::Tensor loss = torch::zeros({}, torch::device(job.device()).dtype(torch::kFloat64));
  for (size_t i = 0; i < batches.size(); ++i) {
    const DropoutScope dropout(
        job.dropout.get(),
        {.step = step, .micro_batch = static_cast<int64_t>(i), .rank = job.group->rank()});
    EnterPhase(Phase::kForward);
    const torch::Tensor mean_part =
        ForwardLoss(job, batches[i], /*checkpoint_activations=*/true).sum * scale;
    EnterPhase(Phase::kBackward);
    mean_part.backward();
    loss += mean_part.detach();
  }
  EnterPhase(Phase::kOptimizer);
  std::vector<torch::Tensor> gradients = TakeGradients(job);
  LONGLORA_RETURN_IF_ERROR(WithReason(job.group->AllReduceSum(gradients), "PEER_LOST"));
  LONGLORA_RETURN_IF_ERROR(WithReason(job.group->AllReduceSum({loss}), "PEER_LOST"));

  StepResult result;
  result.tokens = counts->tokens;
  result.loss = loss.item<double>();
  result.grad_norm = GlobalNorm(gradients);
  result.learning_rate = LearningRate(job.spec().optimizer, step, job.total_steps);
  // Loss and gradients are sums over the ranks, so all of them decide alike.
  result.skipped = !std::isfinite(result.loss) || !std::isfinite(result.grad_norm);
  if (result.skipped) {
    ++job.skipped_in_a_row;
    ++job.skipped_steps;
  } else {
    ClipToNorm(gradients, result.grad_norm, job.spec().optimizer.max_grad_norm);
    job.optimizer->Step(gradients, result.learning_rate);
    job.skipped_in_a_row = 0;
    if (!job.first_loss.has_value()) job.first_loss = result.loss;
    job.last_loss = result.loss;
  }
  job.step = step;
  EnterPhase(Phase::kOther);
  return result;
}

double WitnessLoss(const TrainingJob& job) {
  constexpr int64_t kWitnessTokens = 512;
  const torch::NoGradGuard no_grad;
  Row row = job.training->GetRow(0);
  CutRow(kWitnessTokens, row);
  Batch batch = MakeBatch({row}, TrainingAttention(job.spec()), job.device());
  if (CountTargets(batch.labels) == 0) batch.labels = batch.input.input_ids;
  const LossSum loss = ForwardLoss(job, batch, /*checkpoint_activations=*/false);
  return loss.sum.item<double>() / static_cast<double>(loss.targets);
}

}  // namespace longlora::trainer
