// How users pause, resume, end and remove jobs.
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status/status_macros.h"
#include "rpc/grpc_status.h"
#include "server/events/job_errors.h"
#include "server/scheduler/scheduler.h"
#include "server/store/resource_names.h"

namespace longlora::server {
namespace {

absl::Status CheckEtag(const StoredJob& job, absl::string_view etag) {
  const std::string present = EtagOf(job.revision);
  if (etag.empty() || etag == present) return absl::OkStatus();
  return rpc::MakeError(absl::StatusCode::kAborted,
                        absl::StrCat(JobName(job.id), " has changed since you read it (etag ", etag,
                                     ", now ", present, "): get it again and decide anew"),
                        {"ETAG_MISMATCH", {{"job", JobName(job.id)}, {"etag", present}}, {}});
}

// Why a job in its state cannot be asked for `trigger`.
absl::Status Refused(const StoredJob& job, JobTrigger trigger) {
  const v1::FineTuneJob::State state = job.record.job().state();
  const std::string state_name = v1::FineTuneJob::State_Name(state);
  std::string reason = "JOB_FINAL";
  std::string message = absl::StrCat(JobName(job.id), " is already ", state_name);
  if (state == v1::FineTuneJob::PAUSING) {
    reason = "JOB_PAUSING";
    message = absl::StrCat(JobName(job.id), " is still PAUSING: ask again when it is PAUSED");
  } else if (state == v1::FineTuneJob::CANCELLING) {
    reason = "JOB_CANCELLING";
    message = absl::StrCat(JobName(job.id), " is being cancelled, which allows no ",
                           JobTriggerName(trigger));
  }
  return rpc::MakeError(absl::StatusCode::kFailedPrecondition, message,
                        {reason, {{"job", JobName(job.id)}, {"state", state_name}}, {}});
}

}  // namespace

Answer<v1::FineTuneJob> Scheduler::BeginAsk(JobTrigger trigger, absl::string_view job,
                                            absl::string_view etag) {
  LONGLORA_ASSIGN_OR_RETURN(const std::string id, JobIdOf(job));
  v1::FineTuneJob view;
  std::optional<Handed> handed;
  bool allowed = false;
  {
    absl::MutexLock lock(&mutex_);
    LiveJob* live = FindLive(id);
    if (live != nullptr && NextJobState(live->job.record.job().state(), trigger).has_value()) {
      LONGLORA_RETURN_IF_ERROR(CheckEtag(live->job, etag));
      allowed = true;
      const Moment now = Now();
      JobEditor editor(live->job, now.date);
      LONGLORA_RETURN_IF_ERROR(editor.Ask(trigger));
      if (editor.changed()) handed = Apply(*live, std::move(editor), now);
      view = View(*live);
    }
  }
  if (handed.has_value()) {
    const CommitTicket ticket = handed->ticket;
    return {ticket,
            [this, handed = *std::move(handed),
             view = std::move(view)]() mutable -> absl::StatusOr<v1::FineTuneJob> {
              LONGLORA_RETURN_IF_ERROR(Await({handed}));
              return std::move(view);
            }};
  }
  // Answers rest on what is durable, refusals and "nothing to do" too.
  return BeginLook(job).Then(
      [allowed, trigger](absl::StatusOr<Sight> sight) -> absl::StatusOr<v1::FineTuneJob> {
        if (!sight.ok()) return sight.status();
        if (!allowed && NextJobState(sight->view.state(), trigger).has_value()) {
          return absl::UnavailableError(
              "the store refused what the job was just changing to; ask again");
        }
        if (!allowed) return Refused(sight->job, trigger);
        return std::move(sight->view);
      });
}

absl::Status Scheduler::Delete(absl::string_view job, absl::string_view etag, bool force) {
  LONGLORA_ASSIGN_OR_RETURN(const std::string id, JobIdOf(job));
  LONGLORA_ASSIGN_OR_RETURN(const Sight sight, Look(job));
  LONGLORA_RETURN_IF_ERROR(CheckEtag(sight.job, etag));
  const std::string state = v1::FineTuneJob::State_Name(sight.view.state());
  if (!IsFinal(sight.view.state())) {
    return rpc::MakeError(absl::StatusCode::kFailedPrecondition,
                          absl::StrCat(job, " is ", state, ": cancel it first"),
                          {"JOB_NOT_FINAL", {{"job", std::string(job)}, {"state", state}}, {}});
  }
  const internal::v1::JobRecord& record = sight.job.record;
  if (!force && (record.checkpoints_size() > 0 || record.results_size() > 0)) {
    return rpc::MakeError(absl::StatusCode::kFailedPrecondition,
                          absl::StrCat(job,
                                       " has checkpoints or results, which would go with it: "
                                       "set force to delete them, too"),
                          {"JOB_HAS_ARTIFACTS", {{"job", std::string(job)}}, {}});
  }
  JobTransaction transaction;
  transaction.id = id;
  transaction.expected_revision = sight.job.revision;
  transaction.expected_last_event_sequence = sight.job.cursor.last_event_sequence;
  transaction.remove = true;
  const absl::Status outcome = dependencies_.store->Enqueue(std::move(transaction)).Wait();
  if (!outcome.ok()) return WithJobReason(outcome, id);
  {
    absl::MutexLock lock(&mutex_);
    Forget(id);  // when it became final only just now
    --jobs_by_state_[sight.view.state()];
  }
  dependencies_.hub->Notify(id);
  return absl::OkStatus();
}

}  // namespace longlora::server
