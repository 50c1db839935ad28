#include "worker/agent/attempt.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <utility>
#include <variant>

#include "absl/strings/str_cat.h"
#include "common/status/status_macros.h"
#include "common/trainer_protocol/train_spec.h"
#include "worker/agent/event_translation.h"
#include "worker/agent/failure.h"
#include "worker/agent/job_files.h"

namespace longlora::worker {
namespace {

AttemptOutcome OutcomeOf(seam::AttemptStatus::State state) {
  switch (state) {
    case seam::AttemptStatus::SUCCEEDED:
      return AttemptOutcome::kSucceeded;
    case seam::AttemptStatus::STOPPED:
      return AttemptOutcome::kStopped;
    default:
      return AttemptOutcome::kFailed;
  }
}

api::Failure LeaseFailure() {
  return FailureFromStatus(FailureError(
      "WORKER_LOST",
      "the worker could not reach the server until its lease lapsed, and ended the trainer"));
}

}  // namespace

Attempt::Attempt(const AttemptEnvironment& environment, seam::Assignment assignment,
                 std::function<void()> on_change)
    : environment_(environment),
      assignment_(std::move(assignment)),
      id_{.job = assignment_.job(), .attempt = assignment_.attempt()},
      directory_(environment.attempts_directory, id_),
      on_change_(std::move(on_change)),
      thread_([this] { Live(); }) {}

Attempt::~Attempt() {
  RequestEnd(End::kStale);
  thread_.join();
}

seam::AttemptStatus Attempt::Status() const {
  absl::MutexLock lock(&mutex_);
  seam::AttemptStatus status;
  status.set_job(id_.job);
  status.set_attempt(id_.attempt);
  status.set_state(state_);
  if (failure_.has_value()) *status.mutable_failure() = *failure_;
  return status;
}

bool Attempt::ended() const {
  absl::MutexLock lock(&mutex_);
  return state_ == State::SUCCEEDED || state_ == State::FAILED || state_ == State::STOPPED;
}

bool Attempt::stale() const { return requested_end() == End::kStale; }

Attempt::End Attempt::requested_end() const {
  absl::MutexLock lock(&mutex_);
  return requested_end_;
}

void Attempt::RequestEnd(End end) {
  absl::MutexLock lock(&mutex_);
  if (end <= requested_end_) return;
  // Finished work is worth keeping: nothing computes any more, and the server's fence keeps it from
  // doing harm when another attempt took over.
  if (delivering_ && end != End::kStop && end != End::kStale) return;
  requested_end_ = end;
  if (state_ == State::PREPARING || state_ == State::RUNNING) state_ = State::FINISHING;
  SignalEnd(end);
}

void Attempt::SignalEnd(End end) {
  // The checkpoint that the trainer is about to write must still be delivered.
  const bool delivers = end == End::kPause || end == End::kLeave;
  if (!delivers || group_ == nullptr) transfers_.Cancel();
  if (group_ == nullptr) return;
  if (end == End::kLease || end == End::kStale) {
    group_->Kill();
  } else {
    group_->Stop(end == End::kPause ? environment_.pause_grace : environment_.grace);
  }
}

void Attempt::Acknowledge(int64_t sequence) {
  absl::MutexLock lock(&mutex_);
  if (spool_ != nullptr) spool_->Acknowledge(sequence);
}

void Attempt::Advance(State::State state) {
  {
    absl::MutexLock lock(&mutex_);
    if (state <= state_) return;
    state_ = state;
  }
  on_change_();
}

void Attempt::Live() {
  if (const absl::Status prepared = Prepare(); !prepared.ok()) {
    if (requested_end() == End::kNone) {
      spdlog::warn("{}: {}", id_.ToString(), std::string(prepared.message()));
      Conclude(State::FAILED, FailureFromStatus(prepared));
    } else {
      Conclude(State::STOPPED, std::nullopt);
    }
    return;
  }
  const RankGroupResult result = RunRanks();
  Advance(State::FINISHING);
  // A failed or stopped attempt's last checkpoint is what the next one goes on from.
  checkpoints_->WaitUntilDone();
  switch (result.end) {
    case RankGroupResult::End::kSucceeded:
      if (const absl::Status delivered = DeliverResults(); !delivered.ok()) {
        Conclude(requested_end() == End::kNone ? State::FAILED : State::STOPPED,
                 FailureFromStatus(delivered));
        return;
      }
      Conclude(State::SUCCEEDED, std::nullopt);
      return;
    case RankGroupResult::End::kStopped:
      Conclude(State::STOPPED, std::nullopt);
      return;
    case RankGroupResult::End::kFailed:
      spdlog::warn("{}: {}: {}", id_.ToString(), result.failure.reason, result.failure.message);
      Conclude(State::FAILED, FailureFromRanks(result.failure));
      return;
  }
}

absl::Status Attempt::Prepare() {
  spdlog::info("{}: begins on {} device(s)", id_.ToString(), assignment_.device_ids_size());
  for (const std::string& device_id : assignment_.device_ids()) {
    const auto found = std::find_if(environment_.devices.begin(), environment_.devices.end(),
                                    [&](const Device& device) { return device.id == device_id; });
    if (found == environment_.devices.end()) {
      return FailureError("DEVICE_UNAVAILABLE",
                          absl::StrCat("this worker has no device ", device_id));
    }
    devices_.push_back(*found);
  }
  if (devices_.empty()) return FailureError("DEVICE_UNAVAILABLE", "the server assigned no device");
  LONGLORA_RETURN_IF_ERROR(directory_.Create());
  LONGLORA_RETURN_IF_ERROR(OpenSpool());
  return PrepareJobFiles({.id = id_,
                          .link = environment_.link,
                          .cache = environment_.cache,
                          .roots = environment_.roots,
                          .cancellation = &transfers_,
                          .retry = environment_.retry},
                         assignment_, directory_);
}

absl::Status Attempt::OpenSpool() {
  LONGLORA_ASSIGN_OR_RETURN(
      auto spool, EventSpool::Open(directory_.spool(), assignment_.acknowledged_sequence(), {},
                                   environment_.metrics));
  {
    absl::MutexLock lock(&mutex_);
    spool_ = std::move(spool);
  }
  events_ = std::make_unique<EventUploader>(
      id_, spool_.get(), environment_.link, environment_.retry,
      [this](const absl::Status& status) { OnEventsRefused(status); });
  const auto pending_max =
      static_cast<size_t>(std::max<int64_t>(1, assignment_.spec().checkpoint().has_keep_last()
                                                   ? assignment_.spec().checkpoint().keep_last()
                                                   : common::CheckpointSpec().keep_last));
  checkpoints_ = std::make_unique<CheckpointUploader>(
      Uploads(), directory_.uploads(), pending_max,
      [this](int64_t step, const absl::Status& status) { OnCheckpointFailed(step, status); });
  return absl::OkStatus();
}

RankGroupSpec Attempt::GroupSpec() const {
  RankGroupSpec spec;
  spec.trainer = environment_.trainer;
  spec.arguments = {"--spec", directory_.spec(), "--output", directory_.output()};
  if (!environment_.token_cache_directory.empty()) {
    spec.arguments.insert(spec.arguments.end(),
                          {"--cache-dir", environment_.token_cache_directory});
  }
  if (assignment_.has_resume_from()) spec.arguments.push_back("--resume");
  spec.devices = devices_;
  spec.mark = absl::StrCat(environment_.mark_prefix, id_.job, "/", id_.attempt, ";");
  spec.record_path = directory_.process_record();
  spec.log_directory = directory_.logs();
  spec.directory = directory_.output();
  spec.environment = environment_.environment;
  spec.hang_timeout = environment_.hang_timeout;
  return spec;
}

RankGroupResult Attempt::RunRanks() {
  std::vector<std::string> device_ids;
  for (const Device& device : devices_) device_ids.push_back(device.id);
  if (!environment_.device_locks->Acquire(device_ids, &transfers_).ok()) {
    return {RankGroupResult::End::kStopped, {}};
  }
  Ranks* group = nullptr;
  {
    absl::MutexLock lock(&mutex_);
    group_ = environment_.make_ranks(GroupSpec(), this);
    group = group_.get();
    if (requested_end_ != End::kNone) SignalEnd(requested_end_);
  }
  const auto rank_count = static_cast<int>(devices_.size());
  environment_.metrics->AddRanks(rank_count);
  RankGroupResult result = group->Run();
  environment_.metrics->AddRanks(-rank_count);
  {
    absl::MutexLock lock(&mutex_);
    delivering_ = result.end == RankGroupResult::End::kSucceeded && requested_end_ < End::kStop;
  }
  environment_.device_locks->Release(device_ids);
  return result;
}

void Attempt::Conclude(State::State state, std::optional<api::Failure> failure) {
  if (spool_ != nullptr) FlushEvents();
  bool abandoned = false;
  {
    absl::MutexLock lock(&mutex_);
    if (requested_end_ == End::kLease && state != State::FAILED) {
      state = State::FAILED;
      failure = LeaseFailure();
    } else if (forced_failure_.has_value()) {
      state = State::FAILED;
      failure = forced_failure_;
    }
    abandoned = requested_end_ == End::kLease || requested_end_ == End::kStale;
    state_ = state;
    if (state == State::FAILED) failure_ = std::move(failure);
  }
  environment_.metrics->CountAttempt(abandoned ? AttemptOutcome::kAbandoned : OutcomeOf(state));
  spdlog::info("{}: ended as {}", id_.ToString(), seam::AttemptStatus::State_Name(state));
  on_change_();
}

absl::Status Attempt::OnEvent(const common::TrainerEvent& event) {
  if (const auto* checkpoint = std::get_if<common::CheckpointEvent>(&event.body)) {
    if (const absl::Status kept = KeepCheckpoint(*checkpoint); !kept.ok()) {
      Warn(absl::StrCat("checkpoint of step ", checkpoint->step,
                        " is not sent to the server: ", std::string(kept.message())));
    }
    return absl::OkStatus();
  }
  if (const auto* step = std::get_if<common::StepEvent>(&event.body)) last_step_ = *step;
  if (const auto* finished = std::get_if<common::FinishedEvent>(&event.body)) finished_ = *finished;
  if (std::holds_alternative<common::PreparedEvent>(event.body)) Advance(State::RUNNING);
  const std::optional<api::JobEvent> job_event = ToJobEvent(event);
  return job_event.has_value() ? spool_->Append(*job_event) : absl::OkStatus();
}

}  // namespace longlora::worker
