#include "server/scheduler/scheduler.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/status/annotate.h"
#include "common/status/status_macros.h"
#include "server/store/resource_names.h"
#include "server/store/timestamps.h"

namespace longlora::server {
namespace {

// What callers of the scheduler see when the store refuses. ALREADY_EXISTS is Submit's to explain.
absl::Status StoreFailure(const absl::Status& status) {
  if (status.ok() || absl::IsAlreadyExists(status)) return status;
  return absl::UnavailableError(absl::StrCat(
      "the server could not store the change, nothing changed, try again: ", status.message()));
}

// The name of an event's body, like "step".
const std::string& BodyName(const v1::JobEvent& event) {
  return v1::JobEvent::descriptor()->FindFieldByNumber(event.body_case())->name();
}

}  // namespace

Scheduler::Scheduler(SchedulerOptions options, Dependencies dependencies)
    : options_(std::move(options)), dependencies_(dependencies), usage_(options_.queues.half_life) {
  const google::protobuf::OneofDescriptor& bodies =
      *v1::JobEvent::descriptor()->FindOneofByName("body");
  for (int i = 0; i < bodies.field_count(); ++i) counters_.events_recorded[bodies.field(i)->name()];
}

Scheduler::~Scheduler() = default;

absl::StatusOr<std::unique_ptr<Scheduler>> Scheduler::Create(SchedulerOptions options,
                                                             Dependencies dependencies) {
  std::unique_ptr<Scheduler> scheduler(new Scheduler(std::move(options), dependencies));
  LONGLORA_RETURN_IF_ERROR(common::Annotate(scheduler->Load(), "load the store"));
  LONGLORA_RETURN_IF_ERROR(common::Annotate(scheduler->LoadUsage(), "load past usage"));
  return scheduler;
}

Scheduler::Moment Scheduler::Now() const {
  return {dependencies_.clock->Now(), dependencies_.clock->MonotonicNow()};
}

absl::Status Scheduler::Load() {
  JobStore& store = *dependencies_.store;
  LONGLORA_ASSIGN_OR_RETURN(std::vector<internal::v1::WorkerRecord> workers, store.ListWorkers());
  LONGLORA_ASSIGN_OR_RETURN(std::vector<StoredJob> jobs, store.ListLiveJobs());
  LONGLORA_ASSIGN_OR_RETURN(const int64_t newest_order, store.NewestOrder());
  LONGLORA_ASSIGN_OR_RETURN(auto jobs_by_state, store.CountJobsByState());
  const Moment now = Now();
  // A worker may have been heard of just before the server died: its ranks run on for a whole
  // lease.
  const common::MonotonicTime lease_end = now.monotonic + options_.lease_duration;

  absl::MutexLock lock(&mutex_);
  newest_order_ = newest_order;
  jobs_by_state_ = std::move(jobs_by_state);
  for (internal::v1::WorkerRecord& worker : workers) workers_.Restore(std::move(worker), lease_end);
  for (StoredJob& job : jobs) {
    if (HasActiveAttempt(job.record.job().state())) {
      const std::string& name = job.record.job().attempts().rbegin()->worker();
      if (workers_.Find(absl::StripPrefix(name, "workers/")) == nullptr) {
        internal::v1::WorkerRecord unknown;
        unknown.mutable_worker()->set_name(name);
        workers_.Restore(std::move(unknown), lease_end);
      }
    }
    LiveJob& live = live_jobs_[job.id];
    live.job = std::move(job);
    if (!live.job.record.request_id().empty()) {
      ids_by_request_id_[live.job.record.request_id()] = live.job.id;
    }
    Index(live, now);
  }
  return absl::OkStatus();
}

Scheduler::LiveJob* Scheduler::FindLive(absl::string_view id) {
  const auto found = live_jobs_.find(id);
  return found == live_jobs_.end() ? nullptr : &found->second;
}

void Scheduler::Index(LiveJob& live, Moment now) {
  const v1::FineTuneJob& job = live.job.record.job();
  CountJob(live, 1);
  NoteAttempt(live, now);
  if (job.state() == v1::FineTuneJob::QUEUED) {
    common::MonotonicTime retry_at = now.monotonic;
    if (live.job.record.has_retry_time()) {
      // The date may have jumped since; a back-off never grows by that.
      const absl::Duration left = FromTimestamp(live.job.record.retry_time()) - now.date;
      retry_at = now.monotonic + std::clamp(left, absl::ZeroDuration(), options_.back_off.maximum);
      retry_times_.insert(retry_at.since_start());
    }
    queued_[live.job.order] = &live;
    live.stay = ++newest_stay_;
    queue_changes_.push_back(
        {live.job.order, live.stay, ToQueueEntry(live.job, live.stay, retry_at)});
    placement_due_ = true;
  } else if (HasActiveAttempt(job.state())) {
    active_[live.job.order] = &live;
    const auto& devices = live.job.record.attempts().rbegin()->device_ids();
    workers_.Hold(absl::StripPrefix(job.attempts().rbegin()->worker(), "workers/"), live.job.id,
                  {devices.begin(), devices.end()});
  }
}

void Scheduler::NoteAttempt(LiveJob& live, Moment now) {
  if (live.attempt == PresentAttempt(live.job)) return;
  live.attempt = PresentAttempt(live.job);
  live.attempt_start = now.monotonic;
  const v1::FineTuneJob& job = live.job.record.job();
  if (!HasActiveAttempt(job.state())) return;
  // One that began under an earlier server: its age is told by the date alone.
  const absl::Duration age = now.date - FromTimestamp(job.attempts().rbegin()->start_time());
  live.attempt_start = now.monotonic + -std::max(age, absl::ZeroDuration());
}

void Scheduler::Unindex(LiveJob& live) {
  const v1::FineTuneJob& job = live.job.record.job();
  CountJob(live, -1);
  if (job.state() == v1::FineTuneJob::QUEUED) {
    if (const WaitingList::Entry* waiting = FindWaiting(live); waiting != nullptr) {
      --waiting_by_reason_[waiting->reason];
    }
    queued_.erase(live.job.order);
    queue_changes_.push_back({live.job.order, live.stay, std::nullopt});
  } else if (HasActiveAttempt(job.state())) {
    active_.erase(live.job.order);
    workers_.Release(absl::StripPrefix(job.attempts().rbegin()->worker(), "workers/"), live.job.id);
  }
}

Scheduler::Handed Scheduler::Apply(LiveJob& live, JobEditor editor, Moment now) {
  const v1::FineTuneJob::State before = live.job.record.job().state();
  JobTransaction transaction = editor.TakeTransaction();
  for (const v1::JobEvent& event : transaction.events) ++counters_.events_recorded[BodyName(event)];
  if (before == editor.state()) {
    live.job = editor.job();  // events or checkpoints: nothing that is indexed
  } else {
    Unindex(live);
    live.job = editor.job();
    Index(live, now);
    if (before != v1::FineTuneJob::STATE_UNSPECIFIED) --jobs_by_state_[before];
    ++jobs_by_state_[editor.state()];
    // Devices were given back.
    if (HasActiveAttempt(before) && !HasActiveAttempt(editor.state())) placement_due_ = true;
  }
  live.pending = dependencies_.store->Enqueue(std::move(transaction));
  in_flight_.emplace(++newest_serial_, live.pending);
  return {live.job.id, live.epoch, newest_serial_, live.pending};
}

absl::Status Scheduler::Await(const std::vector<Handed>& handed) {
  absl::Status first;
  for (const Handed& change : handed) {
    const absl::Status outcome = change.ticket.Wait();
    first.Update(StoreFailure(outcome));
    if (!outcome.ok()) {
      absl::MutexLock lock(&mutex_);
      ++counters_.store_failures;
      unread_.insert_or_assign(change.id, change);
    }
    if (!outcome.ok()) TakeBackUnread();
    absl::MutexLock lock(&mutex_);
    in_flight_.erase(change.serial);
    const LiveJob* live = FindLive(change.id);
    if (outcome.ok() && live != nullptr && IsFinal(live->job.record.job().state()) &&
        live->pending.decided() && live->epoch == change.epoch) {
      Forget(change.id);
    }
  }
  for (const Handed& change : handed) dependencies_.hub->Notify(change.id);
  return first;
}

void Scheduler::TakeBack(const Handed& handed, absl::StatusOr<StoredJob> stored) {
  const auto unread = unread_.find(handed.id);
  if (unread != unread_.end() && unread->second.serial == handed.serial) unread_.erase(unread);
  LiveJob* live = FindLive(handed.id);
  // A change that built on one already taken back fails after it; the job is right by then.
  if (live == nullptr || live->epoch != handed.epoch) return;
  Unindex(*live);
  --jobs_by_state_[live->job.record.job().state()];
  if (!stored.ok()) return Forget(handed.id);
  ++live->epoch;
  live->pending = CommitTicket();
  live->job = *std::move(stored);
  ++jobs_by_state_[live->job.record.job().state()];
  // Not at once: a full disk would make the loop spin.
  const bool placement_was_due = placement_due_;
  const Moment now = Now();
  Index(*live, now);
  placement_due_ = placement_was_due;
  retry_times_.insert((now.monotonic + options_.back_off.initial).since_start());
}

void Scheduler::TakeBackUnread() {
  // They stay there until they are taken back: Synchronize tells nothing before.
  std::map<std::string, Handed> unread;
  {
    absl::MutexLock lock(&mutex_);
    unread = unread_;
  }
  for (const auto& [id, handed] : unread) {
    // A refused change may have been stored after all, when the connection was lost in its commit;
    // then those that build on it are stored, too. So what the store says of the job counts once
    // all of them are decided.
    int64_t revision = 0;
    int64_t last_event_sequence = 0;
    CommitTicket newest;
    {
      absl::MutexLock lock(&mutex_);
      if (const LiveJob* live = FindLive(id); live != nullptr) {
        revision = live->job.revision;
        last_event_sequence = live->job.cursor.last_event_sequence;
        newest = live->pending;
      }
    }
    newest.Wait().IgnoreError();
    // Not under the lock: a store that is in trouble may take long to say so.
    absl::StatusOr<StoredJob> stored = dependencies_.store->ReadJob(id);
    if (!stored.ok() && !absl::IsNotFound(stored.status())) return;  // it does not answer at all
    absl::MutexLock lock(&mutex_);
    const LiveJob* live = FindLive(id);
    const bool changed = live != nullptr && live->epoch == handed.epoch &&
                         (live->job.revision != revision ||
                          live->job.cursor.last_event_sequence != last_event_sequence);
    if (!changed) TakeBack(handed, std::move(stored));  // else the next tick looks again
  }
}

void Scheduler::Forget(absl::string_view id) {
  const auto found = live_jobs_.find(id);
  if (found == live_jobs_.end()) return;
  const auto request = ids_by_request_id_.find(found->second.job.record.request_id());
  if (request != ids_by_request_id_.end() && request->second == id)
    ids_by_request_id_.erase(request);
  live_jobs_.erase(found);
}

}  // namespace longlora::server
