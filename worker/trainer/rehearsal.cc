#include "worker/trainer/rehearsal.h"

#include <algorithm>
#include <vector>

#include "common/memory/memory_estimate.h"
#include "worker/trainer/batch.h"
#include "worker/trainer/failure.h"
#include "worker/trainer/loss/chunked_cross_entropy.h"

namespace longlora::trainer {
namespace {

// Tokens of the longest row of `dataset`.
int64_t LongestRow(const TrainingJob& job, const RowDataset& dataset) {
  if (job.spec().dataset.packing) return job.spec().max_sequence_length;
  size_t longest = 0;
  for (int64_t i = 0; i < dataset.num_rows(); ++i) {
    longest = std::max(longest, dataset.GetRow(i).input_ids.size());
  }
  return static_cast<int64_t>(longest);
}

// `num_rows` rows of one document of `length` tokens each.
ModelInput FullRows(const TrainingJob& job, int64_t num_rows, int64_t length,
                    const BatchAttention& attention) {
  const torch::Tensor positions = torch::arange(length, torch::kInt64);
  const torch::Tensor ids = positions.remainder(job.model->config().vocab_size);
  ModelInput input;
  input.input_ids = ids.expand({num_rows, length}).contiguous().to(job.device());
  input.position_ids = positions.expand({num_rows, length}).contiguous().to(job.device());
  input.segments = {SegmentsOfDocuments({0, length}, attention)};
  return input;
}

// As large as what CopyState leaves to the writer of a checkpoint; that copy lies on the CPU.
std::vector<torch::Tensor> CheckpointCopy(const TrainingJob& job) {
  std::vector<torch::Tensor> copy;
  if (!job.device().is_cpu() || job.group->rank() != 0 ||
      !common::CheckpointsWhileTraining(job.spec(), job.total_steps)) {
    return copy;
  }
  for (size_t i = 0; i < job.trained.size(); ++i) {
    copy.push_back(job.trained[i].value.detach().clone());
    copy.push_back(job.optimizer->exp_avg()[i].clone());
    copy.push_back(job.optimizer->exp_avg_sq()[i].clone());
  }
  return copy;
}

void ClearGradients(const TrainingJob& job) {
  for (const Parameter& parameter : job.trained) {
    torch::Tensor(parameter.value).mutable_grad() = torch::Tensor();
  }
}

void RehearseStep(const TrainingJob& job, int64_t length, const BatchAttention& attention) {
  const common::TrainingSpec& training = job.spec().training;
  if (training.gradient_accumulation_steps > 1) {
    for (const Parameter& parameter : job.trained) {
      torch::Tensor(parameter.value).mutable_grad() = torch::zeros_like(parameter.value).detach();
    }
  }
  const DropoutScope dropout(job.dropout.get(), DropoutPlace{});
  EnterPhase(Phase::kForward);
  const ModelInput input = FullRows(job, training.micro_batch_size, length, attention);
  const torch::Tensor hidden = job.model->Forward(input, /*checkpoint_activations=*/true);
  const torch::Tensor loss = ChunkedCrossEntropy(hidden, job.model->lm_head(), input.input_ids).sum;
  EnterPhase(Phase::kBackward);
  loss.backward();
  ClearGradients(job);
}

void RehearseEvaluation(const TrainingJob& job, int64_t length) {
  const torch::NoGradGuard no_grad;
  EnterPhase(Phase::kEvaluation);
  const ModelInput input = FullRows(job, 1, length, BatchAttention{});
  const torch::Tensor hidden = job.model->Forward(input, /*checkpoint_activations=*/false);
  ChunkedTokenLosses(hidden, job.model->lm_head(), input.input_ids);
}

// The cache of keys and values may weigh more than what an evaluation keeps.
void RehearsePasskey(const TrainingJob& job) {
  const auto longest = std::max_element(
      job.passkey_prompts.begin(), job.passkey_prompts.end(),
      [](const PasskeyPrompt& a, const PasskeyPrompt& b) { return a.length < b.length; });
  if (longest != job.passkey_prompts.end()) AnswersRight(*job.model, *longest);
}

}  // namespace

int64_t Rehearse(const TrainingJob& job) {
  const std::vector<torch::Tensor> copy = CheckpointCopy(job);
  const BatchAttention pattern = TrainingAttention(job.spec());
  const int64_t length = LongestRow(job, *job.training);
  RehearseStep(job, length, pattern);
  if (pattern.pattern != common::AttentionPattern::kDense &&
      DenseStartStep(job.spec(), job.total_steps).has_value()) {
    RehearseStep(job, length, BatchAttention{});
  }
  if (job.validation != nullptr) {
    RehearseEvaluation(job, LongestRow(job, *job.validation));
    RehearsePasskey(job);
  }
  EnterPhase(Phase::kOther);
  return job.backend->MemoryPeakBytes();
}

}  // namespace longlora::trainer
