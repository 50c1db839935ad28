#include "worker/trainer/evaluation.h"

#include <algorithm>

#include "common/status/status_macros.h"
#include "worker/trainer/agreement.h"
#include "worker/trainer/batch.h"
#include "worker/trainer/failure.h"
#include "worker/trainer/loss/chunked_cross_entropy.h"

namespace longlora::trainer {
namespace {

using torch::Tensor;

int64_t NumBuckets(const TrainingJob& job) {
  return std::min(kPositionBuckets, job.spec().max_sequence_length);
}

// What the ranks add up: fp64 holds counts exactly, and everything travels at once.
struct Sums {
  Tensor losses;           // [buckets], dense
  Tensor targets;          // [buckets]
  Tensor training_losses;  // [1], with the training pattern
};

TokenLosses RowLosses(const TrainingJob& job, const Batch& batch) {
  const Tensor hidden = job.model->Forward(batch.input, /*checkpoint_activations=*/false);
  return ChunkedTokenLosses(hidden, job.model->lm_head(), batch.labels);
}

void AddRow(const TrainingJob& job, int64_t row, Sums& sums) {
  const Batch batch = MakeBatch(*job.validation, {row}, BatchAttention{}, job.device());
  const TokenLosses dense = RowLosses(job, batch);
  const int64_t num_buckets = NumBuckets(job);
  const Tensor positions = batch.input.position_ids.flatten().index_select(0, dense.targets);
  const Tensor bucket = positions.mul(num_buckets)
                            .floor_divide(job.spec().max_sequence_length)
                            .clamp_max(num_buckets - 1);
  const Tensor losses = dense.losses.to(torch::kFloat64);
  sums.losses.index_add_(0, bucket, losses);
  sums.targets.index_add_(0, bucket, torch::ones_like(losses));

  const BatchAttention training = TrainingAttention(job.spec());
  if (training.pattern == common::AttentionPattern::kDense) return;
  const Batch sparse = MakeBatch(*job.validation, {row}, training, job.device());
  sums.training_losses += RowLosses(job, sparse).losses.to(torch::kFloat64).sum();
}

EvaluationResult Summarize(const TrainingJob& job, const Sums& sums) {
  EvaluationResult result;
  const double targets = sums.targets.sum().item<double>();
  result.targets = static_cast<int64_t>(targets);
  result.loss = sums.losses.sum().item<double>() / targets;
  if (job.spec().method.attention.pattern != common::AttentionPattern::kDense) {
    result.training_pattern_loss = sums.training_losses.item<double>() / targets;
  }
  const int64_t num_buckets = NumBuckets(job), length = job.spec().max_sequence_length;
  // The first position p with p * num_buckets / length == i.
  const auto begin = [&](int64_t i) { return (i * length + num_buckets - 1) / num_buckets; };
  for (int64_t i = 0; i < num_buckets; ++i) {
    const auto count = sums.targets[i].item<double>();
    if (count == 0.0) continue;
    result.buckets.push_back({.begin = begin(i),
                              .end = begin(i + 1),
                              .loss = sums.losses[i].item<double>() / count,
                              .tokens = static_cast<int64_t>(count)});
  }
  return result;
}

}  // namespace

absl::StatusOr<std::optional<EvaluationResult>> Evaluate(const TrainingJob& job) {
  const torch::NoGradGuard no_grad;
  EnterPhase(Phase::kEvaluation);
  const int64_t num_rows = job.validation->num_rows();
  const int64_t world_size = job.group->world_size();
  const auto zeros = [&](int64_t size) {
    return torch::zeros({size}, torch::device(job.device()).dtype(torch::kFloat64));
  };
  Sums sums = {zeros(NumBuckets(job)), zeros(NumBuckets(job)), zeros(1)};
  for (int64_t first = 0; first < num_rows; first += world_size) {
    LONGLORA_ASSIGN_OR_RETURN(const bool stop, AgreeOnStop(job));
    if (stop) return std::optional<EvaluationResult>();
    const int64_t row = first + job.group->rank();
    if (row < num_rows) AddRow(job, row, sums);
  }
  LONGLORA_RETURN_IF_ERROR(WithReason(
      job.group->AllReduceSum({sums.losses, sums.targets, sums.training_losses}), "PEER_LOST"));
  EnterPhase(Phase::kOther);
  return std::optional<EvaluationResult>(
      Summarize(job, {sums.losses.cpu(), sums.targets.cpu(), sums.training_losses.cpu()}));
}

absl::StatusOr<std::optional<std::vector<common::PasskeyResult>>> ProbePasskeys(
    const TrainingJob& job) {
  EnterPhase(Phase::kEvaluation);
  const common::PasskeySpec& spec = job.spec().evaluation.passkey;
  const auto num_prompts = static_cast<int64_t>(job.passkey_prompts.size());
  const auto num_lengths = static_cast<int64_t>(spec.lengths.size());
  Tensor correct = torch::zeros({num_lengths}, torch::kInt64);
  for (int64_t first = 0; first < num_prompts; first += job.group->world_size()) {
    LONGLORA_ASSIGN_OR_RETURN(const bool stop, AgreeOnStop(job));
    if (stop) return std::optional<std::vector<common::PasskeyResult>>();
    const int64_t i = first + job.group->rank();
    if (i < num_prompts && AnswersRight(*job.model, job.passkey_prompts[i])) {
      correct[i / spec.trials] += 1;
    }
  }
  std::vector<common::PasskeyResult> results;
  if (num_prompts > 0) {
    correct = correct.to(job.device());
    LONGLORA_RETURN_IF_ERROR(WithReason(job.group->AllReduceSum({correct}), "PEER_LOST"));
    correct = correct.cpu();
  }
  for (int64_t i = 0; i < num_lengths; ++i) {
    results.push_back(
        {.length = spec.lengths[i], .trials = spec.trials, .correct = correct[i].item<int64_t>()});
  }
  EnterPhase(Phase::kOther);
  return std::optional<std::vector<common::PasskeyResult>>(std::move(results));
}

}  // namespace longlora::trainer
