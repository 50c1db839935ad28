#include "worker/agent/sync_loop.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <utility>

#include "absl/random/random.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/status/annotate.h"
#include "common/status/status_macros.h"
#include "common/threads/threads.h"
#include "rpc/grpc_status.h"
#include "worker/agent/attempt_directory.h"
#include "worker/agent/model_paths.h"

namespace longlora::worker {
namespace {

// What a server may ask for; anything else would stall the worker or make it spin.
constexpr absl::Duration kCallDelayMin = absl::Milliseconds(10);
constexpr absl::Duration kCallDelayMax = absl::Minutes(1);
// Of the last call, which only says goodbye.
constexpr absl::Duration kGoodbyeTimeout = absl::Seconds(5);

absl::Duration FromProto(const google::protobuf::Duration& duration) {
  return absl::Seconds(duration.seconds()) + absl::Nanoseconds(duration.nanos());
}

bool IsFinal(seam::AttemptStatus::State state) {
  return state == seam::AttemptStatus::SUCCEEDED || state == seam::AttemptStatus::FAILED ||
         state == seam::AttemptStatus::STOPPED;
}

}  // namespace

SyncLoop::SyncLoop(SyncOptions options, const AttemptEnvironment& environment)
    : options_(std::move(options)), environment_(environment) {}

SyncLoop::~SyncLoop() = default;

void SyncLoop::Notify() {
  absl::MutexLock lock(&mutex_);
  notified_ = true;
}

void SyncLoop::Leave() {
  absl::MutexLock lock(&mutex_);
  leaving_ = true;
  notified_ = true;
}

bool SyncLoop::leaving() const {
  absl::MutexLock lock(&mutex_);
  return leaving_;
}

void SyncLoop::Wait(absl::Duration duration) {
  if (lease_.end().has_value()) {
    duration = std::min(duration, *lease_.end() - environment_.clock->MonotonicNow());
  }
  absl::MutexLock lock(&mutex_);
  common::AwaitWithTimeout(&mutex_, absl::Condition(this, &SyncLoop::WakeRequested), duration);
  notified_ = false;
}

absl::Status SyncLoop::Run() {
  while (!leaving()) {
    auto delay = Step();
    if (!delay.ok()) {
      attempts_.clear();
      return delay.status();
    }
    Wait(*delay);
    CheckLease();
  }
  return Drain();
}

absl::Status SyncLoop::Drain() {
  spdlog::info("leaving: stopping {} attempt(s) with a checkpoint", attempts_.size());
  const common::MonotonicTime deadline =
      environment_.clock->MonotonicNow() + options_.leave_timeout;
  for (const auto& [id, attempt] : attempts_) attempt->RequestEnd(Attempt::End::kLeave);
  const auto all_ended = [this] {
    return std::all_of(attempts_.begin(), attempts_.end(),
                       [](const auto& item) { return item.second->ended(); });
  };
  while (!all_ended() && environment_.clock->MonotonicNow() < deadline) {
    auto delay = Step();
    if (!delay.ok()) break;
    Wait(std::min(*delay, deadline - environment_.clock->MonotonicNow()));
    CheckLease();
  }
  KillUnended();
  const seam::SynchronizeRequest goodbye = BuildRequest();
  const auto response = environment_.link->Synchronize(goodbye, kGoodbyeTimeout);
  if (response.ok()) {
    for (const seam::AttemptStatus& status : goodbye.attempts()) {
      Forget({.job = status.job(), .attempt = status.attempt()});
    }
  } else {
    spdlog::warn("could not say goodbye to the server: {}",
                 std::string(response.status().message()));
  }
  attempts_.clear();
  return absl::OkStatus();
}

void SyncLoop::KillUnended() {
  std::vector<AttemptId> unended;
  for (const auto& [id, attempt] : attempts_) {
    if (!attempt->ended()) unended.push_back(id);
  }
  for (const AttemptId& id : unended) {
    spdlog::error("{}: does not end in time and is killed", id.ToString());
    Forget(id);
  }
}

seam::SynchronizeRequest SyncLoop::BuildRequest() {
  seam::SynchronizeRequest request;
  request.set_worker(environment_.link->worker());
  request.set_incarnation(options_.incarnation);
  request.set_version(options_.version);
  request.set_number(++reports_);
  request.set_leaving(leaving());
  for (const Device& device : environment_.devices) {
    api::Device* item = request.add_devices();
    item->set_id(device.id);
    item->set_kind(device.kind);
    item->set_model(device.model);
    item->set_memory_bytes(device.memory_bytes);
  }
  const std::vector<std::string> models = ListModels(environment_.roots.model_dir);
  for (const std::string& model : models) request.add_models(model);
  for (auto& [model, text] : ReadModelConfigs(environment_.roots.model_dir, models)) {
    seam::ModelConfig* config = request.add_model_configs();
    config->set_model(model);
    config->set_config_json(std::move(text));
  }
  for (const std::string& root : environment_.roots.allowed_roots) request.add_allowed_roots(root);
  for (const std::string& label : environment_.labels) request.add_labels(label);
  for (const auto& [id, attempt] : attempts_) *request.add_attempts() = attempt->Status();
  for (const AttemptId& id : never_begun_) {
    seam::AttemptStatus* status = request.add_attempts();
    status->set_job(id.job);
    status->set_attempt(id.attempt);
    status->set_state(seam::AttemptStatus::STOPPED);
  }
  return request;
}

absl::Duration SyncLoop::CallTimeout() const {
  if (!lease_.end().has_value() || attempts_.empty()) return options_.call_timeout;
  // A call that hangs must not outlast the lease that it was to renew.
  const absl::Duration left = *lease_.end() - environment_.clock->MonotonicNow();
  return std::clamp(left, absl::Milliseconds(1), options_.call_timeout);
}

absl::StatusOr<absl::Duration> SyncLoop::Step() {
  ForgetStale();
  const seam::SynchronizeRequest request = BuildRequest();
  const common::MonotonicTime sent = environment_.clock->MonotonicNow();
  const auto response = environment_.link->Synchronize(request, CallTimeout());
  environment_.metrics->SetConnected(response.ok());
  if (!response.ok()) return HandleError(response.status());
  if (failures_ > 0) spdlog::info("the server answers again");
  failures_ = 0;
  lease_.Renew(sent, FromProto(response->lease_duration()));
  environment_.metrics->SetLease(lease_.end());
  CheckLease();
  Reconcile(request, *response);
  return std::clamp(FromProto(response->next_call_delay()), kCallDelayMin, kCallDelayMax);
}

absl::StatusOr<absl::Duration> SyncLoop::HandleError(const absl::Status& status) {
  const rpc::ErrorDetails details = rpc::GetErrorDetails(status);
  const std::string& reason = details.reason;
  if (const auto number = details.metadata.find("number");
      reason == "REPORT_UNCONFIRMED" && number != details.metadata.end()) {
    int64_t told = 0;
    if (absl::SimpleAtoi(number->second, &told)) reports_ = std::max(reports_, told);
    return kCallDelayMin;
  }
  if (reason == "WORKER_NAME_TAKEN" || reason == "WORKER_INVALID") {
    return common::Annotate(status, "the server refuses this worker");
  }
  // Cannot reach is not failed: inside the lease the ranks train on.
  ++failures_;
  if (failures_ == 1) {
    spdlog::warn("cannot synchronize with the server, trying again: {}", status.ToString());
  }
  CheckLease();
  absl::BitGen random;
  return common::BackoffDelay(options_.retry, failures_, absl::Uniform(random, 0.0, 1.0));
}

void SyncLoop::CheckLease() {
  if (!lease_.Lapse(environment_.clock->MonotonicNow())) return;
  environment_.metrics->SetLease(std::nullopt);
  if (attempts_.empty()) return;
  spdlog::error("the lease lapsed: ending {} attempt(s) before the server gives their jobs away",
                attempts_.size());
  for (const auto& [id, attempt] : attempts_) attempt->RequestEnd(Attempt::End::kLease);
}

void SyncLoop::Reconcile(const seam::SynchronizeRequest& request,
                         const seam::SynchronizeResponse& response) {
  std::set<AttemptId> listed;
  for (const seam::Assignment& assignment : response.assignments()) {
    listed.insert({.job = assignment.job(), .attempt = assignment.attempt()});
  }
  for (const seam::AttemptStatus& reported : request.attempts()) {
    const AttemptId id = {.job = reported.job(), .attempt = reported.attempt()};
    if (listed.count(id) > 0) continue;
    if (IsFinal(reported.state())) {
      Forget(id);
    } else if (const auto found = attempts_.find(id); found != attempts_.end()) {
      found->second->RequestEnd(Attempt::End::kStop);
    }
  }
  for (const seam::Assignment& assignment : response.assignments()) ApplyAssignment(assignment);
}

void SyncLoop::ApplyAssignment(const seam::Assignment& assignment) {
  const AttemptId id = {.job = assignment.job(), .attempt = assignment.attempt()};
  const auto found = attempts_.find(id);
  if (found != attempts_.end()) {
    found->second->Acknowledge(assignment.acknowledged_sequence());
    if (assignment.desired() == seam::Assignment::STOP)
      found->second->RequestEnd(Attempt::End::kStop);
    if (assignment.desired() == seam::Assignment::PAUSE)
      found->second->RequestEnd(Attempt::End::kPause);
    return;
  }
  if (assignment.desired() == seam::Assignment::STOP ||
      assignment.desired() == seam::Assignment::PAUSE) {
    never_begun_.insert(id);
    Notify();
  } else if (assignment.desired() == seam::Assignment::RUN && !leaving() &&
             never_begun_.count(id) == 0 && lease_.end().has_value()) {
    // The lease of an answer that took too long is over; the next answer asks for it again.
    attempts_[id] = std::make_unique<Attempt>(environment_, assignment, [this] { Notify(); });
    Notify();
  }
}

void SyncLoop::ForgetStale() {
  std::vector<AttemptId> stale;
  for (const auto& [id, attempt] : attempts_) {
    if (attempt->stale() && attempt->ended()) stale.push_back(id);
  }
  for (const AttemptId& id : stale) Forget(id);
}

void SyncLoop::Forget(const AttemptId& id) {
  never_begun_.erase(id);
  const auto found = attempts_.find(id);
  if (found == attempts_.end()) return;
  // Waits for its processes, if there still are any.
  attempts_.erase(found);
  const absl::Status removed = AttemptDirectory(environment_.attempts_directory, id).Remove();
  if (!removed.ok())
    spdlog::warn("{}: cannot remove its files: {}", id.ToString(), removed.ToString());
}

}  // namespace longlora::worker
