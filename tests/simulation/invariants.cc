#include "tests/simulation/invariants.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/strip.h"
#include "server/scheduler/device_ledger.h"
#include "server/scheduler/job_editor.h"
#include "server/scheduler/job_state_machine.h"
#include "server/store/resource_names.h"
#include "server/store/timestamps.h"

namespace longlora::simulation {
namespace {

using Job = v1::FineTuneJob;

std::string IdOf(const std::string& job) {
  return std::string(absl::StripPrefix(job, "fineTuneJobs/"));
}

bool MayFollow(Job::State state, Job::State next) {
  if (state == next) return true;
  return std::any_of(
      server::kJobTriggers.begin(), server::kJobTriggers.end(),
      [&](server::JobTrigger trigger) { return server::NextJobState(state, trigger) == next; });
}

// Of the newest attempt; empty: none.
std::string LastFailure(const Job& job) {
  return job.attempts().empty() ? "" : job.attempts().rbegin()->failure().reason();
}

// An event that a worker sent, and so counts in its attempt's own numbering.
bool IsWorkers(const v1::JobEvent& event) {
  return event.has_prepared() || event.has_step() || event.has_evaluation() ||
         event.has_warning() || event.has_log() || event.has_error() || event.has_finished();
}

}  // namespace

// --- Physically: no device has two trainers, no job has two, and none lives for an attempt that
// the job does not have: devices are given away only after their trainer is dead, by whichever way
// the server came to know, and a lease that lapsed is waited out.

int64_t Invariants::OnTrainerStarted(LiveTrainer trainer) {
  for (const auto& [number, other] : trainers_) {
    if (other.job == trainer.job && !frozen_until_.contains(other.worker)) {
      Violate("two trainers of ", trainer.job, " live at once: of attempt ", other.attempt, " on ",
              other.worker, " and of attempt ", trainer.attempt, " on ", trainer.worker);
    }
    if (other.worker != trainer.worker) continue;
    for (const std::string& device : trainer.devices) {
      if (std::find(other.devices.begin(), other.devices.end(), device) == other.devices.end())
        continue;
      Violate("device ", device, " of ", trainer.worker, " has two trainers: of ", other.job,
              " and of ", trainer.job);
    }
  }
  CheckTrainer(trainer);
  trainers_[next_trainer_] = std::move(trainer);
  return next_trainer_++;
}

void Invariants::OnWorkerDied(const std::string& worker) {
  std::erase_if(trainers_, [&](const auto& item) { return item.second.worker == worker; });
}

void Invariants::OnWorkerFrozen(const std::string& worker, absl::Duration end) {
  absl::Duration& until = frozen_until_[worker];
  until = std::max(until, end);
}

void Invariants::OnWorkerThawed(const std::string& worker, absl::Duration now) {
  const auto frozen = frozen_until_.find(worker);
  if (frozen == frozen_until_.end() || now < frozen->second) return;
  frozen_until_.erase(frozen);
  for (const auto& [number, trainer] : trainers_) {
    if (trainer.worker == worker) CheckTrainer(trainer);
  }
}

void Invariants::OnWorkerEnded(const std::string& worker) {
  for (const auto& [number, trainer] : trainers_) {
    if (trainer.worker == worker) Violate(worker, " ended and left a trainer of ", trainer.job);
  }
  OnWorkerDied(worker);
}

void Invariants::CheckTrainer(const LiveTrainer& trainer) {
  if (frozen_until_.contains(trainer.worker)) return;
  const auto found = jobs_.find(IdOf(trainer.job));
  if (found == jobs_.end()) return Violate("a trainer lives of ", trainer.job, ", which is gone");
  const server::StoredJob& job = found->second.stored;
  const Job& view = job.record.job();
  if (!server::HasActiveAttempt(view.state())) {
    return Violate("a trainer of attempt ", trainer.attempt, " lives on ", trainer.worker,
                   " though ", trainer.job, " is ", Job::State_Name(view.state()));
  }
  if (server::PresentAttempt(job) != trainer.attempt ||
      view.attempts().rbegin()->worker() != server::WorkerName(trainer.worker)) {
    Violate("a trainer of attempt ", trainer.attempt, " lives on ", trainer.worker, " though ",
            trainer.job, " is at attempt ", server::PresentAttempt(job), " on ",
            view.attempts().rbegin()->worker());
  }
}

// --- Durably.

void Invariants::CheckTransition(const DurableJob& job, const internal::v1::JobRecord& next) {
  const internal::v1::JobRecord& before = job.stored.record;
  const Job::State state = before.job().state();
  if (!MayFollow(state, next.job().state())) {
    Violate(before.job().name(), " went from ", Job::State_Name(state), " to ",
            Job::State_Name(next.job().state()));
  }
  if (server::IsFinal(state)) Violate(before.job().name(), " changed after it was final");
  const int attempts = next.job().attempts_size() - before.job().attempts_size();
  if (attempts < 0 || attempts > 1)
    Violate(before.job().name(), ": ", attempts, " attempts at once");
  if (before.results_attempt() != 0 && next.results_attempt() != before.results_attempt() &&
      before.results_attempt() == before.job().attempts_size() && attempts == 0) {
    Violate(before.job().name(), ": results of attempt ", before.results_attempt(),
            " were replaced by those of attempt ", next.results_attempt());
  }
}

void Invariants::CheckDevices() {
  std::map<std::pair<std::string, std::string>, std::string> holders;
  for (const auto& [id, job] : jobs_) {
    const internal::v1::JobRecord& record = job.stored.record;
    if (!server::HasActiveAttempt(record.job().state())) continue;
    for (const std::string& device : record.attempts().rbegin()->device_ids()) {
      const auto [holder, is_new] =
          holders.try_emplace({record.job().attempts().rbegin()->worker(), device}, id);
      if (is_new || refused_.contains(id) || refused_.contains(holder->second)) continue;
      Violate("device ", device, " is given to ", holder->second, " and to ", id);
    }
  }
}

void Invariants::CheckQuota() {
  int32_t used = 0;
  for (const auto& [id, job] : jobs_) {
    const internal::v1::JobRecord& record = job.stored.record;
    if (record.job().spec().queue() != kLimitedQueue) continue;
    if (!server::HasActiveAttempt(record.job().state())) continue;
    if (refused_.contains(id)) return;
    used += record.attempts().rbegin()->device_ids_size();
  }
  if (used > kLimitedQueueNominal + kLimitedQueueBorrows) {
    Violate("queue ", kLimitedQueue, " has ", used, " devices");
  }
}

// Every device-second of an attempt is in one class, whatever was killed and whatever clocks did.
void Invariants::CheckLedger(const internal::v1::JobRecord& record) {
  const Job& job = record.job();
  double held = 0.0;
  for (int i = 0; i < job.attempts_size(); ++i) {
    const v1::Attempt& attempt = job.attempts(i);
    if (!attempt.has_end_time()) continue;
    const double seconds = absl::ToDoubleSeconds(server::FromTimestamp(attempt.end_time()) -
                                                 server::FromTimestamp(attempt.start_time()));
    const double expected = seconds * record.attempts(i).device_ids_size();
    held += expected;
    const double found = server::TotalOf(attempt.ledger());
    if (seconds < 0.0 || std::abs(found - expected) > 1e-6) {
      Violate(job.name(), " attempt ", attempt.number(), ": held devices for ", expected,
              " device-seconds, its ledger has ", found);
    }
  }
  const double found = server::TotalOf(job.ledger());
  if (std::abs(found - held) > 1e-6) {
    Violate(job.name(), ": its attempts held ", held, " device-seconds, its ledger has ", found);
  }
}

void Invariants::CheckResults(const internal::v1::JobRecord& record) {
  const Job& job = record.job();
  const auto promoted = std::count_if(
      job.attempts().begin(), job.attempts().end(),
      [](const v1::Attempt& attempt) { return attempt.state() == v1::Attempt::SUCCEEDED; });
  if (promoted > 1) Violate(job.name(), ": ", promoted, " attempts were promoted");
  if (job.state() != Job::SUCCEEDED) return;
  if (promoted != 1 || record.results_size() == 0 ||
      record.results_attempt() != job.attempts_size()) {
    Violate(job.name(), " SUCCEEDED without results of its last attempt");
  }
}

void Invariants::CheckEvents(DurableJob& job, const std::vector<v1::JobEvent>& events) {
  const Job& view = job.stored.record.job();
  for (const v1::JobEvent& event : events) {
    if (!event.has_step()) continue;
    const v1::Attempt& attempt = view.attempts(event.attempt() - 1);
    const auto [last, is_first] = job.last_steps.try_emplace(event.attempt(), attempt.start_step());
    if (event.step().step() != last->second + 1) {
      Violate(view.name(), " attempt ", event.attempt(), ": step ", event.step().step(),
              " follows step ", last->second);
    }
    last->second = event.step().step();
  }
}

void Invariants::OnStored(const server::JobTransaction& transaction) {
  if (transaction.remove) {
    jobs_.erase(transaction.id);
    for (const auto& [number, trainer] : trainers_) CheckTrainer(trainer);
    return;
  }
  const bool created = transaction.expected_revision == 0;
  DurableJob& job = jobs_[transaction.id];
  if (created) {
    job.stored.id = transaction.id;
    job.stored.order = transaction.order;
  } else if (transaction.record.has_value()) {
    CheckTransition(job, *transaction.record);
  }
  if (transaction.record.has_value()) {
    job.stored.record = *transaction.record;
    ++job.stored.revision;
    trace_->Add("stored: ", transaction.id, " is ",
                Job::State_Name(job.stored.record.job().state()), ", attempt ",
                server::PresentAttempt(job.stored), " ", LastFailure(job.stored.record.job()));
  }
  job.stored.cursor = transaction.cursor;
  CheckEvents(job, transaction.events);
  if (!transaction.record.has_value()) return;
  if (!server::HasActiveAttempt(job.stored.record.job().state())) refused_.erase(transaction.id);
  CheckDevices();
  CheckQuota();
  CheckLedger(job.stored.record);
  CheckResults(job.stored.record);
  for (const auto& [number, trainer] : trainers_) CheckTrainer(trainer);
}

void Invariants::OnRefused(const std::string& id, const std::optional<server::StoredJob>& stored) {
  OnLooked(id, stored);
  refused_.insert(id);
}

void Invariants::OnLooked(const std::string& id, const std::optional<server::StoredJob>& stored) {
  if (!stored.has_value()) {
    jobs_.erase(id);
    return;
  }
  DurableJob& job = jobs_[id];
  if (stored->revision > job.stored.revision && job.stored.revision > 0) {
    CheckTransition(job, stored->record);
  }
  if (stored->cursor.last_event_sequence != job.stored.cursor.last_event_sequence) {
    // The events between were not told of; whether they follow is seen at the end, in the log.
    job.last_steps.clear();
    for (int32_t attempt = 1; attempt <= server::PresentAttempt(*stored); ++attempt) {
      const bool present = attempt == server::PresentAttempt(*stored);
      const int64_t start = stored->record.job().attempts(attempt - 1).start_step();
      job.last_steps[attempt] = present ? std::max(start, stored->cursor.progress.step()) : start;
    }
  }
  job.stored = *stored;
}

void Invariants::OnServerStarting(const std::vector<server::StoredJob>& stored) {
  std::map<std::string, const server::StoredJob*> found;
  for (const server::StoredJob& job : stored) found[job.id] = &job;
  std::vector<std::string> gone;
  for (const auto& [id, job] : jobs_) {
    const auto now = found.find(id);
    if (now == found.end()) {
      if (!delete_asked_.contains(server::JobName(id))) {
        Violate("job ", id, " was stored and is lost");
      }
      gone.push_back(id);
    } else if (now->second->revision < job.stored.revision ||
               now->second->cursor.last_event_sequence < job.stored.cursor.last_event_sequence) {
      Violate("a change of job ", id, " was stored and is lost: revision ", now->second->revision,
              " and event ", now->second->cursor.last_event_sequence, " instead of ",
              job.stored.revision, " and ", job.stored.cursor.last_event_sequence);
    }
  }
  for (const std::string& id : gone) jobs_.erase(id);
  for (const auto& [id, job] : found) OnLooked(id, *job);
}

// --- What was answered: durable first, and one job a request_id.

void Invariants::OnSubmitted(const std::string& request_id, const std::string& job) {
  if (!jobs_.contains(IdOf(job)) && !delete_asked_.contains(job)) {
    Violate(job, " was acknowledged and is not stored");
  }
  const auto [known, is_new] = submitted_.try_emplace(request_id, job);
  if (!is_new && known->second != job && !delete_asked_.contains(known->second)) {
    Violate("request ", request_id, " made two jobs, ", known->second, " and ", job);
  }
}

void Invariants::OnDeleteAsked(const std::string& job) { delete_asked_.insert(job); }

void Invariants::OnEventsAcknowledged(const std::string& job, int32_t attempt, int64_t sequence) {
  int64_t& acknowledged = acknowledged_[{job, attempt}];
  acknowledged = std::max(acknowledged, sequence);
  const auto found = jobs_.find(IdOf(job));
  if (found == jobs_.end() || server::PresentAttempt(found->second.stored) != attempt) return;
  if (found->second.stored.cursor.acknowledged_sequence < sequence) {
    Violate(job, " attempt ", attempt, ": event ", sequence, " was acknowledged, stored is ",
            found->second.stored.cursor.acknowledged_sequence);
  }
}

void Invariants::OnWatched(const std::string& job, int64_t after_sequence,
                           const server::EventPage& page) {
  int64_t expected = after_sequence;
  for (const v1::JobEvent& event : page.events) {
    if (event.sequence() != ++expected || event.job() != job) {
      Violate("a watcher of ", job, " got event ", event.sequence(), " after ", expected - 1);
    }
  }
  const auto found = jobs_.find(IdOf(job));
  if (found != jobs_.end() &&
      page.last_event_sequence > found->second.stored.cursor.last_event_sequence) {
    Violate("a watcher of ", job, " saw event ", page.last_event_sequence, ", stored is ",
            found->second.stored.cursor.last_event_sequence);
  }
}

// --- At the end.

bool Invariants::AllFinal() const {
  return std::all_of(jobs_.begin(), jobs_.end(), [](const auto& item) {
    return server::IsFinal(item.second.stored.record.job().state());
  });
}

void Invariants::CheckLog(const server::StoredJob& job, const std::vector<v1::JobEvent>& events) {
  const Job& view = job.record.job();
  if (static_cast<int64_t>(events.size()) != job.cursor.last_event_sequence) {
    Violate(view.name(), " has ", events.size(), " events instead of ",
            job.cursor.last_event_sequence);
  }
  Job::State state = Job::STATE_UNSPECIFIED;
  std::map<int32_t, int64_t> steps;
  std::map<int32_t, int64_t> workers_events;
  int64_t tokens = 0;
  int64_t sequence = 0;
  for (const v1::JobEvent& event : events) {
    if (event.sequence() != ++sequence) {
      return Violate(view.name(), ": event ", event.sequence(), " stands at ", sequence);
    }
    if (IsWorkers(event)) ++workers_events[event.attempt()];
    if (event.has_state_changed()) {
      const v1::StateChanged& change = event.state_changed();
      if (change.previous() != state ||
          (sequence > 1 && !MayFollow(change.previous(), change.state()))) {
        Violate(view.name(), ": its log goes from ", Job::State_Name(state), " to ",
                Job::State_Name(change.state()));
      }
      state = change.state();
    }
    if (!event.has_step()) continue;
    const auto [last, is_first] =
        steps.try_emplace(event.attempt(), view.attempts(event.attempt() - 1).start_step());
    if (event.step().step() != last->second + 1) {
      Violate(view.name(), " attempt ", event.attempt(), ": its log has step ", event.step().step(),
              " after ", last->second);
    }
    last->second = event.step().step();
    if (event.attempt() == server::PresentAttempt(job)) tokens += event.step().tokens();
  }
  if (state != view.state()) Violate(view.name(), ": its log ends in another state than it has");
  if (tokens != job.cursor.progress.tokens()) {
    Violate(view.name(), ": ", job.cursor.progress.tokens(),
            " tokens are counted, its events tell of ", tokens);
  }
  for (const auto& [key, count] : acknowledged_) {
    if (key.first != view.name() || workers_events[key.second] >= count) continue;
    Violate(view.name(), " attempt ", key.second, ": ", count, " events were acknowledged, ",
            workers_events[key.second], " are there");
  }
}

void Invariants::CheckArtifacts(const server::StoredJob& job,
                                const server::ArtifactStore& artifacts) {
  const auto check = [&](int32_t attempt, const v1::Artifact& artifact) {
    const auto state = artifacts.GetState({.job_id = job.id,
                                           .attempt = attempt,
                                           .path = artifact.path(),
                                           .size_bytes = artifact.size_bytes(),
                                           .sha256 = artifact.sha256()});
    if (!state.ok() || !state->complete) {
      Violate(job.record.job().name(), ": ", artifact.path(), " of attempt ", attempt,
              " is listed and not there");
    }
  };
  for (const v1::Checkpoint& checkpoint : job.record.checkpoints()) {
    for (const v1::Artifact& artifact : checkpoint.artifacts())
      check(checkpoint.attempt(), artifact);
  }
  for (const v1::Artifact& artifact : job.record.results()) {
    check(job.record.results_attempt(), artifact);
  }
}

void Invariants::CheckAtRest(
    const std::vector<server::StoredJob>& stored,
    const std::map<std::string, std::vector<v1::JobEvent>>& events,
    const std::function<std::string(const v1::FineTuneJob&)>& expected_result,
    const server::ArtifactStore& artifacts) {
  std::set<std::string> names;
  std::map<std::string, std::string> by_request;
  for (const server::StoredJob& job : stored) {
    const Job& view = job.record.job();
    names.insert(view.name());
    const auto [other, is_new] = by_request.try_emplace(job.record.request_id(), view.name());
    if (!is_new) {
      Violate("request ", job.record.request_id(), " made two jobs, ", other->second, " and ",
              view.name());
    }
    if (!server::IsFinal(view.state())) {
      Violate(view.name(), " does not end: it is ", Job::State_Name(view.state()));
    }
    CheckLog(job, events.at(job.id));
    CheckArtifacts(job, artifacts);
    if (view.state() != Job::SUCCEEDED) continue;
    if (job.record.results(0).sha256() != expected_result(view)) {
      Violate(view.name(), ": its result is not that of an undisturbed run");
    }
  }
  for (const auto& [request_id, job] : submitted_) {
    if (!names.contains(job) && !delete_asked_.contains(job)) {
      Violate(job, " was acknowledged and is lost");
    }
  }
  for (const auto& [number, trainer] : trainers_) {
    Violate("a trainer of ", trainer.job, " still lives on ", trainer.worker);
  }
}

}  // namespace longlora::simulation
