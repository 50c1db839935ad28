// The one call of the seam: the worker's present state in, its desired state out.
#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status/status_macros.h"
#include "server/scheduler/scheduler.h"
#include "server/store/resource_names.h"

namespace longlora::server {
namespace {

using worker::v1::AttemptStatus;

// A worker's contact is stored often enough that a restart does not take it for long gone.
constexpr int kContactStoresPerRetention = 24;

google::protobuf::Duration ToProto(absl::Duration duration) {
  google::protobuf::Duration proto;
  const int64_t seconds = absl::ToInt64Seconds(duration);
  proto.set_seconds(seconds);
  proto.set_nanos(
      static_cast<int32_t>(absl::ToInt64Nanoseconds(duration - absl::Seconds(seconds))));
  return proto;
}

// What should become of the active attempt of `job`.
worker::v1::Assignment::Desired DesiredOf(const v1::FineTuneJob& job) {
  if (job.state() == v1::FineTuneJob::CANCELLING) return worker::v1::Assignment::STOP;
  const bool yields =
      job.state() == v1::FineTuneJob::PAUSING || job.attempts().rbegin()->has_eviction();
  return yields ? worker::v1::Assignment::PAUSE : worker::v1::Assignment::RUN;
}

// How an attempt ended by what its worker says, or nullopt when it goes on.
std::optional<AttemptEnd> EndOf(const AttemptStatus& status) {
  switch (status.state()) {
    case AttemptStatus::SUCCEEDED:
      return AttemptEnd{AttemptEnd::How::kSucceeded, {}};
    case AttemptStatus::FAILED:
      return AttemptEnd{AttemptEnd::How::kFailed, status.failure()};
    case AttemptStatus::STOPPED:
      return AttemptEnd{AttemptEnd::How::kStopped, {}};
    default:
      return std::nullopt;
  }
}

// The same for an attempt that the server gave the worker and that the worker does not mention.
std::optional<AttemptEnd> EndOfMissing(const StoredJob& job,
                                       const worker::v1::SynchronizeRequest& request) {
  if (job.record.attempts().rbegin()->incarnation() != request.incarnation()) {
    return AttemptEnd{AttemptEnd::How::kLost,
                      MakeFailure("WORKER_RESTARTED",
                                  absl::StrCat("worker ", request.worker(),
                                               " was restarted and its trainers were ended"))};
  }
  // It never arrived, so nothing of it runs: it need not be started to be stopped.
  if (DesiredOf(job.record.job()) != worker::v1::Assignment::RUN) {
    return AttemptEnd{AttemptEnd::How::kStopped, {}};
  }
  return std::nullopt;
}

}  // namespace

Answer<worker::v1::SynchronizeResponse> Scheduler::BeginSynchronize(
    const worker::v1::SynchronizeRequest& request) {
  Told told;
  LONGLORA_RETURN_IF_ERROR(TakeReport(request, told));
  // A worker that has devices to spare is to hear at once what they are for.
  if (!told.goodbye) Place(told.handed);
  absl::StatusOr<worker::v1::SynchronizeResponse> response = Tell(request, told);
  const CommitTicket last = told.tickets.back();
  return {last,
          [this, told = std::move(told), response = std::move(response)]() mutable
              -> absl::StatusOr<worker::v1::SynchronizeResponse> {
            LONGLORA_RETURN_IF_ERROR(Await(told.handed));
            for (const CommitTicket& ticket : told.tickets) {
              if (!ticket.Wait().ok()) {
                return absl::UnavailableError("the server could not store its state; report again");
              }
            }
            return std::move(response);
          }};
}

absl::Status Scheduler::TakeReport(const worker::v1::SynchronizeRequest& request, Told& told) {
  absl::MutexLock lock(&mutex_);
  LONGLORA_RETURN_IF_ERROR(CheckRead());
  const Moment now = Now();
  LONGLORA_ASSIGN_OR_RETURN(
      const WorkerRegistry::Accepted accepted,
      workers_.Report(request, now.date, now.monotonic + options_.lease_duration,
                      options_.worker_retention / kContactStoresPerRetention));
  if (accepted.must_store) {
    told.tickets.push_back(
        dependencies_.store->EnqueueWorker(workers_.Find(request.worker())->record));
  }
  placement_due_ = placement_due_ || accepted.offers_changed;
  if (request.leaving()) {
    Evict(request.worker(), "WORKER_LEFT",
          absl::StrCat("workers/", request.worker(), " was told to end"), now, told.handed);
  }
  ReadReport(request, now, told.handed);
  told.goodbye = request.leaving() && workers_.Find(request.worker())->held.empty();
  if (told.goodbye) workers_.Leave(request.worker(), now.monotonic);
  return absl::OkStatus();
}

absl::StatusOr<worker::v1::SynchronizeResponse> Scheduler::Tell(
    const worker::v1::SynchronizeRequest& request, Told& told) {
  absl::MutexLock lock(&mutex_);
  // The answer rests on everything decided so far, by this call or another: what it lists and what
  // it no longer lists. And on that no other server decides by now. The newest ticket comes last,
  // so it is the last to be decided.
  for (const auto& [serial, ticket] : in_flight_) told.tickets.push_back(ticket);
  told.tickets.push_back(dependencies_.store->Confirm());
  if (told.goodbye) return worker::v1::SynchronizeResponse();
  // Much may have happened while jobs were placed.
  LONGLORA_RETURN_IF_ERROR(CheckRead());
  const KnownWorker* const worker = workers_.Find(request.worker());
  if (worker == nullptr || worker->record.incarnation() != request.incarnation()) {
    return absl::UnavailableError("another process has taken the worker's name; report again");
  }
  return DesiredState(request.worker());
}

absl::Status Scheduler::CheckRead() const {
  if (unread_.empty()) return absl::OkStatus();
  return absl::UnavailableError("the server could not read its store; report again");
}

void Scheduler::ReadReport(const worker::v1::SynchronizeRequest& request, Moment now,
                           std::vector<Handed>& handed) {
  std::map<std::pair<std::string, int32_t>, const AttemptStatus*> reported;
  for (const AttemptStatus& status : request.attempts()) {
    reported[{status.job(), status.attempt()}] = &status;
  }
  // A copy: ending an attempt changes what the worker holds.
  const auto held = workers_.Find(request.worker())->held;
  for (const auto& [id, devices] : held) {
    LiveJob& live = *FindLive(id);
    const auto status = reported.find({JobName(id), PresentAttempt(live.job)});
    const std::optional<AttemptEnd> end =
        status != reported.end() ? EndOf(*status->second) : EndOfMissing(live.job, request);
    if (end.has_value()) EndAttempt(live, *end, now, handed);
  }
}

worker::v1::SynchronizeResponse Scheduler::DesiredState(absl::string_view worker) {
  worker::v1::SynchronizeResponse response;
  for (const auto& [id, devices] : workers_.Find(worker)->held) {
    *response.add_assignments() = ToAssignment(*FindLive(id));
  }
  *response.mutable_lease_duration() = ToProto(options_.lease_duration);
  *response.mutable_next_call_delay() = ToProto(options_.synchronize_interval);
  return response;
}

worker::v1::Assignment Scheduler::ToAssignment(const LiveJob& live) {
  const internal::v1::JobRecord& record = live.job.record;
  const v1::Attempt& attempt = *record.job().attempts().rbegin();
  worker::v1::Assignment assignment;
  assignment.set_job(record.job().name());
  assignment.set_attempt(attempt.number());
  assignment.set_desired(DesiredOf(record.job()));
  *assignment.mutable_spec() = record.job().spec();
  *assignment.mutable_device_ids() = record.attempts().rbegin()->device_ids();
  for (const v1::Checkpoint& checkpoint : record.checkpoints()) {
    if (attempt.start_step() > 0 && checkpoint.step() == attempt.start_step()) {
      *assignment.mutable_resume_from() = checkpoint;
    }
  }
  assignment.set_acknowledged_sequence(live.job.cursor.acknowledged_sequence);
  return assignment;
}

}  // namespace longlora::server
