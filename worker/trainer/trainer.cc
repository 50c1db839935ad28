#include "worker/trainer/trainer.h"

#include <cmath>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/io/files.h"
#include "common/memory/memory_estimate.h"
#include "common/status/status_macros.h"
#include "worker/trainer/agreement.h"
#include "worker/trainer/allocation.h"
#include "worker/trainer/batch.h"
#include "worker/trainer/checkpointing.h"
#include "worker/trainer/evaluation.h"
#include "worker/trainer/export_proof.h"
#include "worker/trainer/export_results.h"
#include "worker/trainer/failure.h"
#include "worker/trainer/rehearsal.h"

namespace longlora::trainer {
namespace {

int64_t CountElements(const std::vector<Parameter>& parameters) {
  int64_t count = 0;
  for (const Parameter& parameter : parameters) count += parameter.value.numel();
  return count;
}

// On standard error, which under a worker becomes the job's log.
void TellProof(const char* folder, const ExportProof& proof) {
  absl::FPrintF(stderr,
                "%s was read back from the disk: %d LoRA modules of %d applied, logits within %g "
                "of the trainer's (allowed: %g)\n",
                folder, proof.modules, proof.modules, proof.largest, proof.bound);
}

bool IsMultiple(int64_t step, int64_t interval) { return interval > 0 && step % interval == 0; }

}  // namespace

absl::StatusOr<common::ExitCode> Trainer::Run() {
  LONGLORA_RETURN_IF_ERROR(Prepare());
  const absl::StatusOr<bool> looped = Loop();
  KeepFreedTensors(false);
  // Also when the loop ended badly: a checkpoint is worth most then.
  const absl::Status saved = TellSaved(/*wait=*/true);
  LONGLORA_RETURN_IF_ERROR(looped.status());
  LONGLORA_RETURN_IF_ERROR(saved);
  const bool done = *looped;
  common::FinishedEvent finished;
  finished.step = job_->step;
  finished.stopped = !done;
  if (done) {
    if (EarlyStopDue() && job_->step < job_->total_steps) finished.early_stop = WhyEarlyStop();
    LONGLORA_RETURN_IF_ERROR(Export());
    finished.weights_step = job_->exported_step;
    finished.adapter = kAdapterFolder;
    if (job_->spec().export_options.merged) finished.merged = kMergedFolder;
  }
  LONGLORA_RETURN_IF_ERROR(events_.Write(finished));
  return done ? common::ExitCode::kSucceeded : common::ExitCode::kStopped;
}

absl::Status Trainer::Prepare() {
  LONGLORA_RETURN_IF_ERROR(common::CreateDirectories(options_.output_directory));
  LONGLORA_ASSIGN_OR_RETURN(job_, SetUpJob(options_));
  LONGLORA_RETURN_IF_ERROR(PrepareStart(*job_));
  saved_step_ = job_->step;
  LONGLORA_ASSIGN_OR_RETURN(
      const common::MemoryEstimate estimate,
      common::EstimateMemory(job_->spec(), job_->model->config(), job_->backend->HasBf16()));
  KeepFreedTensors(true);
  const int64_t memory_bytes = Rehearse(*job_);
  const DatasetStats& training = job_->training->stats();
  LONGLORA_RETURN_IF_ERROR(events_.Write(common::PreparedEvent{
      .total_steps = job_->total_steps,
      .start_step = job_->step,
      .parameters = CountElements(job_->model->parameters()),
      .trainable_parameters = CountElements(job_->trained),
      .training_rows = training.num_rows,
      .training_tokens = training.num_tokens,
      .validation_tokens = job_->validation != nullptr ? job_->validation->stats().num_tokens : 0,
      .fill_ratio = training.fill_ratio,
      .memory_bytes = memory_bytes,
      .dense_start_step = DenseStartStep(job_->spec(), job_->total_steps),
      .estimated_memory_bytes = estimate.total_bytes}));
  for (const std::string& warning : job_->warnings) {
    LONGLORA_RETURN_IF_ERROR(events_.Write(common::WarningEvent{.message = warning}));
  }
  return absl::OkStatus();
}

absl::StatusOr<bool> Trainer::Loop() {
  while (true) {
    LONGLORA_RETURN_IF_ERROR(TellSaved(/*wait=*/false));
    LONGLORA_RETURN_IF_ERROR(EvaluateIfDue());
    LONGLORA_ASSIGN_OR_RETURN(const Requests requests, AgreeOnRequests(*job_));
    if (requests.stop || requests.checkpoint || CheckpointDue())
      LONGLORA_RETURN_IF_ERROR(Checkpoint());
    if (requests.stop) return false;
    if (job_->step >= job_->total_steps || EarlyStopDue()) return true;
    LONGLORA_RETURN_IF_ERROR(Step());
  }
}

// Before the first step, after every interval and after the last. A checkpoint remembers whether
// the evaluation at its step was done, so that none is lost or done twice across a resume.
absl::Status Trainer::EvaluateIfDue() {
  const bool due = job_->step == 0 || job_->step >= job_->total_steps ||
                   IsMultiple(job_->step, job_->spec().evaluation.interval_steps);
  if (job_->validation == nullptr || !due || job_->evaluated_step >= job_->step) {
    return absl::OkStatus();
  }
  LONGLORA_ASSIGN_OR_RETURN(const std::optional<EvaluationResult> result, Evaluate(*job_));
  if (!result.has_value()) return absl::OkStatus();
  const ValidationRecord before = job_->validation_record;
  const bool best = TakeEvaluation(job_->step, result->loss, job_->validation_record);
  common::EvaluationEvent event = {.step = job_->step,
                                   .loss = result->loss,
                                   .perplexity = std::exp(result->loss),
                                   .tokens = result->targets,
                                   .training_pattern_loss = result->training_pattern_loss,
                                   .buckets = result->buckets,
                                   .passkey = {}};
  if (job_->step == 0 || job_->step >= job_->total_steps || EarlyStopDue()) {
    LONGLORA_ASSIGN_OR_RETURN(auto passkey, ProbePasskeys(*job_));
    if (!passkey.has_value()) {
      // Stopped half-way: the whole evaluation is done again after the resume.
      job_->validation_record = before;
      return absl::OkStatus();
    }
    event.passkey = *std::move(passkey);
  }
  job_->evaluated_step = job_->step;
  LONGLORA_RETURN_IF_ERROR(Tell(event));
  return best && job_->spec().checkpoint.keep_best ? Checkpoint() : absl::OkStatus();
}

absl::Status Trainer::Tell(const decltype(common::TrainerEvent::body)& body) {
  if (log_works_ && job_->group->rank() == 0) {
    const absl::Status logged = log_.Add(body);
    log_works_ = logged.ok();
    if (!log_works_) {
      LONGLORA_RETURN_IF_ERROR(events_.Write(common::WarningEvent{
          .message = absl::StrCat("TensorBoard's log ends here: ", logged.message())}));
    }
  }
  return events_.Write(body);
}

bool Trainer::EarlyStopDue() const {
  const int64_t patience = job_->spec().evaluation.patience;
  return patience > 0 && job_->validation_record.evaluations_without_gain >= patience;
}

std::string Trainer::WhyEarlyStop() const {
  const ValidationRecord& record = job_->validation_record;
  return absl::StrCat("the validation loss was not lowered in ", record.evaluations_without_gain,
                      " evaluation(s) in a row (evaluation.patience); the lowest, ",
                      record.lowest_loss.value_or(NAN), ", was that of step ", record.lowest_step);
}

bool Trainer::CheckpointDue() const {
  return job_->step > saved_step_ && IsMultiple(job_->step, job_->spec().checkpoint.interval_steps);
}

absl::Status Trainer::Checkpoint() {
  saved_step_ = job_->step;
  if (job_->group->rank() != 0) return absl::OkStatus();
  const common::MonotonicTime begin = clock_.MonotonicNow();
  LONGLORA_RETURN_IF_ERROR(TellSaved(/*wait=*/true));
  LONGLORA_ASSIGN_OR_RETURN(StateCopy copy, CopyState(*job_));
  saver_.Start(std::move(copy));
  checkpoint_time_ += clock_.MonotonicNow() - begin;
  return absl::OkStatus();
}

absl::Status Trainer::TellSaved(bool wait) {
  LONGLORA_ASSIGN_OR_RETURN(const std::optional<common::CheckpointEvent> event, saver_.Take(wait));
  return event.has_value() ? events_.Write(*event) : absl::OkStatus();
}

absl::Status Trainer::Step() {
  const common::MonotonicTime begin = clock_.MonotonicNow();
  LONGLORA_ASSIGN_OR_RETURN(const StepResult result, TrainStep(*job_));
  const double seconds = absl::ToDoubleSeconds(clock_.MonotonicNow() - begin);
  LONGLORA_RETURN_IF_ERROR(Tell(common::StepEvent{
      .step = job_->step,
      .loss = result.loss,
      .learning_rate = result.learning_rate,
      .grad_norm = result.grad_norm,
      .tokens = result.tokens,
      .tokens_per_second = seconds > 0.0 ? static_cast<double>(result.tokens) / seconds : 0.0,
      .memory_bytes = job_->backend->MemoryPeakBytes(),
      .skipped = result.skipped,
      .skipped_steps = job_->skipped_steps,
      .checkpoint_seconds =
          absl::ToDoubleSeconds(std::exchange(checkpoint_time_, absl::ZeroDuration()))}));
  return result.skipped ? TellSkipped(result) : absl::OkStatus();
}

absl::Status Trainer::TellSkipped(const StepResult& result) {
  const bool finite_loss = std::isfinite(result.loss);
  const int64_t most = job_->spec().training.max_skipped_steps;
  const std::string what =
      absl::StrCat("step ", job_->step, ": the ", finite_loss ? "gradient norm" : "loss", " is ",
                   finite_loss ? result.grad_norm : result.loss, ", so the update was not done");
  if (job_->skipped_in_a_row < most) {
    return events_.Write(common::WarningEvent{
        .message = absl::StrCat(what, "; ", job_->skipped_in_a_row, " of at most ", most,
                                " such steps in a row (training.max_skipped_steps)")});
  }
  return WithReason(absl::FailedPreconditionError(absl::StrCat(
                        what, ", ", most,
                        " time(s) in a row (training.max_skipped_steps); lower "
                        "optimizer.learning_rate, lengthen optimizer.warmup_steps, set "
                        "optimizer.max_grad_norm, or look for broken examples in "
                        "dataset.training")),
                    "NON_FINITE");
}

absl::Status Trainer::Export() {
  if (job_->group->rank() != 0) return absl::OkStatus();
  if (job_->spec().export_options.weights == common::ExportWeights::kBest) {
    LONGLORA_RETURN_IF_ERROR(TakeBestWeights(*job_));
  }
  const std::string& output = options_.output_directory;
  const std::string adapter = absl::StrCat(output, "/", kAdapterFolder);
  LONGLORA_RETURN_IF_ERROR(WriteAdapter(*job_, adapter));
  LONGLORA_ASSIGN_OR_RETURN(const ExportProof adapter_proof, ProveAdapter(*job_, adapter));
  TellProof(kAdapterFolder, adapter_proof);
  if (!job_->spec().export_options.merged) return absl::OkStatus();
  const std::string merged = absl::StrCat(output, "/", kMergedFolder);
  LONGLORA_RETURN_IF_ERROR(WriteMerged(*job_, merged));
  LONGLORA_ASSIGN_OR_RETURN(const ExportProof merged_proof, ProveMerged(*job_, merged));
  TellProof(kMergedFolder, merged_proof);
  return absl::OkStatus();
}

}  // namespace longlora::trainer
