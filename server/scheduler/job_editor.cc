#include "server/scheduler/job_editor.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status/status_macros.h"
#include "common/trainer_protocol/train_spec.h"
#include "server/events/event_log.h"
#include "server/scheduler/device_ledger.h"
#include "server/scheduler/progress.h"
#include "server/store/resource_names.h"
#include "server/store/timestamps.h"

namespace longlora::server {
namespace {

int64_t CheckpointsKept(const v1::FineTuneSpec& spec) {
  const int64_t kept = spec.checkpoint().has_keep_last() ? spec.checkpoint().keep_last()
                                                         : common::CheckpointSpec().keep_last;
  return std::max<int64_t>(1, kept);
}

// Steps of the checkpoints that retention drops: all but the newest `kept_max` and the newest of
// the lowest validation loss.
std::vector<int64_t> StepsToDrop(std::vector<const v1::Checkpoint*> checkpoints, int64_t kept_max) {
  std::sort(checkpoints.begin(), checkpoints.end(),
            [](const v1::Checkpoint* a, const v1::Checkpoint* b) { return a->step() > b->step(); });
  std::vector<int64_t> dropped;
  int64_t kept = 0;
  bool best_kept = false;
  for (const v1::Checkpoint* checkpoint : checkpoints) {
    if (checkpoint->best() && !best_kept) {
      best_kept = true;
    } else if (kept++ >= kept_max) {
      dropped.push_back(checkpoint->step());
    }
  }
  return dropped;
}

LedgerFacts LedgerFactsOf(const StoredJob& job) {
  LedgerFacts facts;
  facts.devices = job.record.attempts().rbegin()->device_ids_size();
  facts.start = FromTimestamp(job.record.job().attempts().rbegin()->start_time());
  for (const internal::v1::AttemptRecord& attempt : job.record.attempts()) {
    facts.steps_before = std::max(facts.steps_before, attempt.last_step());
  }
  return facts;
}

LastStretch LastStretchOf(const StoredJob& job) {
  const v1::FineTuneJob::State state = job.record.job().state();
  if (state == v1::FineTuneJob::CANCELLING || state == v1::FineTuneJob::PAUSING ||
      job.record.job().attempts().rbegin()->has_eviction()) {
    return LastStretch::kStopping;
  }
  if (job.record.results_attempt() == PresentAttempt(job) ||
      job.cursor.progress.ledger().finishing() > 0.0) {
    return LastStretch::kFinishing;
  }
  return state == v1::FineTuneJob::PREPARING ? LastStretch::kPreparing : LastStretch::kStalled;
}

int32_t FailuresInARow(const internal::v1::JobRecord& record) {
  int32_t failures = 0;
  for (int i = record.job().attempts_size() - 2; i >= 0; --i) {
    if (record.job().attempts(i).state() != v1::Attempt::FAILED) break;
    ++failures;
    if (record.attempts(i).checkpoint_count() > 0) break;
  }
  return failures;
}

}  // namespace

JobEditor::JobEditor(StoredJob job, absl::Time now) : now_(now), job_(std::move(job)) {
  transaction_.id = job_.id;
  transaction_.order = job_.order;
  transaction_.expected_revision = job_.revision;
  transaction_.expected_last_event_sequence = job_.cursor.last_event_sequence;
  transaction_.cursor = job_.cursor;
}

JobEditor JobEditor::Create(NewJob job, absl::Time now) {
  StoredJob stored;
  stored.id = std::move(job.id);
  stored.order = job.order;
  stored.record.set_request_id(std::move(job.request_id));
  stored.record.set_request_digest(std::move(job.request_digest));
  v1::FineTuneJob& view = *stored.record.mutable_job();
  view.set_name(JobName(stored.id));
  *view.mutable_spec() = std::move(job.spec);
  view.set_state(v1::FineTuneJob::QUEUED);
  *view.mutable_create_time() = ToTimestamp(now);

  JobEditor editor(std::move(stored), now);
  v1::JobEvent event;
  event.mutable_state_changed()->set_state(v1::FineTuneJob::QUEUED);
  editor.Append(std::move(event));
  editor.record_changed_ = true;
  return editor;
}

v1::Attempt& JobEditor::present_attempt() {
  return *job_.record.mutable_job()->mutable_attempts()->rbegin();
}

void JobEditor::Append(v1::JobEvent event) {
  if (!event.has_event_time()) *event.mutable_event_time() = ToTimestamp(now_);
  AppendEvent(std::move(event), transaction_);
}

void JobEditor::AppendAttempt() {
  v1::JobEvent event;
  event.set_attempt(present_attempt().number());
  *event.mutable_attempt_changed() = present_attempt();
  Append(std::move(event));
}

absl::Status JobEditor::Transition(JobTrigger trigger, const v1::Failure* failure) {
  v1::FineTuneJob& job = *job_.record.mutable_job();
  const v1::FineTuneJob::State previous = job.state();
  const std::optional<v1::FineTuneJob::State> next = NextJobState(previous, trigger);
  if (!next.has_value()) {
    return absl::FailedPreconditionError(
        absl::StrCat("job ", job_.id, " is ", v1::FineTuneJob::State_Name(previous),
                     ", which does not allow ", JobTriggerName(trigger)));
  }
  if (*next == previous) return absl::OkStatus();
  record_changed_ = true;
  job.set_state(*next);
  if (IsFinal(*next)) *job.mutable_end_time() = ToTimestamp(now_);
  v1::JobEvent event;
  event.set_attempt(PresentAttempt(job_));
  event.mutable_state_changed()->set_previous(previous);
  event.mutable_state_changed()->set_state(*next);
  if (*next == v1::FineTuneJob::FAILED && failure != nullptr) {
    *job.mutable_failure() = *failure;
    *event.mutable_state_changed()->mutable_failure() = *failure;
  }
  Append(std::move(event));
  return absl::OkStatus();
}

absl::Status JobEditor::Assign(absl::string_view worker, absl::string_view incarnation,
                               const std::vector<std::string>& device_ids) {
  if (!NextJobState(state(), JobTrigger::kAssign).has_value()) {
    return Transition(JobTrigger::kAssign, nullptr);
  }
  v1::FineTuneJob& job = *job_.record.mutable_job();
  v1::Attempt& attempt = *job.add_attempts();
  attempt.set_number(job.attempts_size());
  attempt.set_worker(WorkerName(worker));
  attempt.set_state(v1::Attempt::ACTIVE);
  *attempt.mutable_start_time() = ToTimestamp(now_);
  if (job_.record.checkpoints_size() > 0) {
    attempt.set_start_step(job_.record.checkpoints().rbegin()->step());
  }
  if (!job.has_start_time()) *job.mutable_start_time() = ToTimestamp(now_);
  internal::v1::AttemptRecord& record = *job_.record.add_attempts();
  record.set_incarnation(std::string(incarnation));
  record.mutable_device_ids()->Assign(device_ids.begin(), device_ids.end());
  job_.record.clear_retry_time();
  // The new attempt numbers its events from 1 and has made no progress.
  transaction_.cursor.acknowledged_sequence = 0;
  transaction_.cursor.progress.Clear();

  AppendAttempt();
  return Transition(JobTrigger::kAssign, nullptr);
}

absl::Status JobEditor::Ask(JobTrigger trigger) {
  LONGLORA_RETURN_IF_ERROR(Transition(trigger, nullptr));
  // Whoever resumes a job need not wait for what it failed of before the pause.
  if (state() != v1::FineTuneJob::QUEUED) job_.record.clear_retry_time();
  return absl::OkStatus();
}

void JobEditor::Evict(absl::string_view reason, absl::string_view message) {
  const bool goes_on = state() == v1::FineTuneJob::PREPARING || state() == v1::FineTuneJob::RUNNING;
  if (!goes_on || present_attempt().has_eviction()) return;
  record_changed_ = true;
  v1::Eviction& eviction = *present_attempt().mutable_eviction();
  eviction.set_reason(std::string(reason));
  eviction.set_message(std::string(message));
  *eviction.mutable_time() = ToTimestamp(now_);
  AppendAttempt();
}

absl::Status JobEditor::EndAttempt(const Verdict& verdict, absl::Time retry_time) {
  if (!NextJobState(state(), verdict.trigger).has_value()) {
    return Transition(verdict.trigger, nullptr);
  }
  record_changed_ = true;
  v1::Attempt& attempt = present_attempt();
  v1::Progress& progress = transaction_.cursor.progress;
  CloseLedger(LastStretchOf(job_), now_, LedgerFactsOf(job_), progress);
  attempt.set_state(verdict.attempt_state);
  // Not now_: the date may have jumped back, and the ledger is of exactly this time.
  *attempt.mutable_end_time() = progress.ledger_time();
  *attempt.mutable_ledger() = progress.ledger();
  AddLedger(progress.ledger(), *job_.record.mutable_job()->mutable_ledger());
  progress.clear_ledger();
  job_.record.mutable_attempts()->rbegin()->set_last_step(progress.step());
  if (verdict.failure.has_value()) *attempt.mutable_failure() = *verdict.failure;
  AppendAttempt();
  if (verdict.trigger == JobTrigger::kRequeue && verdict.failure.has_value()) {
    *job_.record.mutable_retry_time() = ToTimestamp(retry_time);
  }
  return Transition(verdict.trigger, verdict.failure.has_value() ? &*verdict.failure : nullptr);
}

absl::Status JobEditor::RecordEvents(const std::vector<v1::JobEvent>& events) {
  const LedgerFacts facts = LedgerFactsOf(job_);
  for (v1::JobEvent event : events) {
    event.set_attempt(PresentAttempt(job_));
    UpdateProgress(event, transaction_.cursor.progress);
    AccountEvent(event, now_, facts, transaction_.cursor.progress);
    const bool prepared = event.has_prepared();
    Append(std::move(event));
    ++transaction_.cursor.acknowledged_sequence;
    if (prepared) LONGLORA_RETURN_IF_ERROR(Transition(JobTrigger::kPrepared, nullptr));
  }
  return absl::OkStatus();
}

std::vector<v1::Checkpoint> JobEditor::CommitCheckpoint(v1::Checkpoint checkpoint) {
  auto& kept = *job_.record.mutable_checkpoints();
  const int32_t attempt = PresentAttempt(job_);
  const auto same = std::find_if(kept.begin(), kept.end(), [&](const v1::Checkpoint& other) {
    return other.step() == checkpoint.step();
  });
  if (same != kept.end() && same->attempt() == attempt) return {};

  checkpoint.set_name(CheckpointName(job_.id, checkpoint.step()));
  checkpoint.set_attempt(attempt);
  *checkpoint.mutable_create_time() = ToTimestamp(now_);
  int64_t size_bytes = 0;
  for (const v1::Artifact& artifact : checkpoint.artifacts()) size_bytes += artifact.size_bytes();
  checkpoint.set_size_bytes(size_bytes);
  const v1::Progress& progress = job_.cursor.progress;
  if (!checkpoint.has_loss() && progress.step() == checkpoint.step() && progress.step() > 0) {
    checkpoint.set_loss(progress.loss());
  }
  const int64_t kept_max = CheckpointsKept(job_.record.job().spec());
  std::vector<const v1::Checkpoint*> all = {&checkpoint};
  for (const v1::Checkpoint& other : kept) {
    if (other.step() != checkpoint.step()) all.push_back(&other);
  }
  const std::vector<int64_t> steps_to_drop = StepsToDrop(std::move(all), kept_max);
  const auto is_dropped = [&](const v1::Checkpoint& other) {
    return std::find(steps_to_drop.begin(), steps_to_drop.end(), other.step()) !=
           steps_to_drop.end();
  };
  // A delayed repeat of a checkpoint that retention has dropped in the meantime.
  if (same == kept.end() && is_dropped(checkpoint)) return {std::move(checkpoint)};

  std::vector<v1::Checkpoint> dropped;
  record_changed_ = true;
  if (same != kept.end()) {
    dropped.push_back(std::move(*same));
    kept.erase(same);
  }
  job_.record.mutable_attempts()->rbegin()->set_checkpoint_count(
      job_.record.attempts().rbegin()->checkpoint_count() + 1);
  v1::JobEvent event;
  event.set_attempt(attempt);
  *event.mutable_checkpoint() = checkpoint;
  Append(std::move(event));
  *kept.Add() = std::move(checkpoint);
  std::sort(kept.begin(), kept.end(),
            [](const v1::Checkpoint& a, const v1::Checkpoint& b) { return a.step() < b.step(); });
  for (auto it = kept.begin(); it != kept.end();) {
    if (is_dropped(*it)) {
      dropped.push_back(std::move(*it));
      it = kept.erase(it);
    } else {
      ++it;
    }
  }
  return dropped;
}

void JobEditor::CommitResults(std::vector<v1::Artifact> results) {
  std::sort(results.begin(), results.end(),
            [](const v1::Artifact& a, const v1::Artifact& b) { return a.path() < b.path(); });
  record_changed_ = true;
  job_.record.mutable_results()->Assign(results.begin(), results.end());
  job_.record.set_results_attempt(PresentAttempt(job_));
}

bool JobEditor::changed() const { return record_changed_ || !transaction_.events.empty(); }

JobTransaction JobEditor::TakeTransaction() {
  if (record_changed_) {
    transaction_.record = job_.record;
    ++job_.revision;
  }
  job_.cursor = transaction_.cursor;
  return std::move(transaction_);
}

AttemptFacts FactsOf(const StoredJob& job, int32_t failed_attempts_max) {
  AttemptFacts facts;
  facts.job_state = job.record.job().state();
  facts.results_committed = job.record.results_attempt() == PresentAttempt(job);
  facts.failures_before = FailuresInARow(job.record);
  facts.checkpoint_committed = job.record.attempts().rbegin()->checkpoint_count() > 0;
  const v1::Attempt& attempt = *job.record.job().attempts().rbegin();
  if (attempt.has_eviction()) facts.eviction = attempt.eviction();
  facts.failed_attempts_max = failed_attempts_max;
  return facts;
}

int32_t PresentAttempt(const StoredJob& job) { return job.record.job().attempts_size(); }

}  // namespace longlora::server
