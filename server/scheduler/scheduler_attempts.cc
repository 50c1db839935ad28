// What workers send about an attempt: events, artifacts, its end. Everything here is fenced.
#include <algorithm>
#include <iterator>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/io/files.h"
#include "common/io/sha256.h"
#include "common/status/status_macros.h"
#include "rpc/grpc_status.h"
#include "server/events/job_errors.h"
#include "server/scheduler/scheduler.h"
#include "server/store/resource_names.h"

namespace longlora::server {
namespace {

constexpr int kEventsMax = 1000;        // of one ReportEvents
constexpr size_t kLineBytesMax = 8192;  // LogLine.message

absl::Status StaleAttempt(absl::string_view job, int32_t attempt) {
  return rpc::MakeError(
      absl::StatusCode::kFailedPrecondition,
      absl::StrCat("attempt ", attempt, " of ", job,
                   " is not its present attempt on this worker: end it and forget it"),
      {"STALE_ATTEMPT", {{"job", std::string(job)}, {"attempt", absl::StrCat(attempt)}}, {}});
}

absl::Status EventInvalid(absl::string_view message) {
  return rpc::MakeError(absl::StatusCode::kInvalidArgument, message, {"EVENT_INVALID", {}, {}});
}

absl::Status SequenceGap(int64_t acknowledged, int64_t received) {
  return rpc::MakeError(
      absl::StatusCode::kOutOfRange,
      absl::StrCat("event ", received, " does not follow ", acknowledged, ": send from ",
                   acknowledged + 1, " on"),
      {"SEQUENCE_GAP", {{"acknowledged_sequence", absl::StrCat(acknowledged)}}, {}});
}

absl::Status CheckpointInvalid(absl::string_view message) {
  return rpc::MakeError(absl::StatusCode::kInvalidArgument, message,
                        {"CHECKPOINT_INVALID", {}, {}});
}

// Cuts a line between characters, so that it stays UTF-8.
void CutLine(v1::LogLine& line) {
  std::string& text = *line.mutable_message();
  if (text.size() <= kLineBytesMax) return;
  size_t end = kLineBytesMax;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;
  text.resize(end);
}

// An event as its worker may send it, made fit to be stored.
absl::StatusOr<v1::JobEvent> AcceptEvent(const v1::JobEvent& sent) {
  v1::JobEvent event = sent;
  event.clear_job();
  event.clear_sequence();
  event.clear_attempt();
  switch (event.body_case()) {
    case v1::JobEvent::kPrepared:
    case v1::JobEvent::kStep:
    case v1::JobEvent::kEvaluation:
    case v1::JobEvent::kError:
    case v1::JobEvent::kFinished:
      return event;
    case v1::JobEvent::kWarning:
      CutLine(*event.mutable_warning());
      return event;
    case v1::JobEvent::kLog:
      CutLine(*event.mutable_log());
      return event;
    default:
      return EventInvalid(
          "events.event: expected prepared, step, evaluation, warning, log, error or "
          "finished; the others are the server's own");
  }
}

// The events that are new, when they follow `acknowledged`.
absl::StatusOr<std::vector<v1::JobEvent>> NewEvents(const worker::v1::ReportEventsRequest& request,
                                                    int64_t acknowledged) {
  std::vector<v1::JobEvent> events;
  for (const worker::v1::AttemptEvent& sent : request.events()) {
    if (sent.sequence() <= acknowledged) continue;
    const int64_t expected = acknowledged + static_cast<int64_t>(events.size()) + 1;
    if (sent.sequence() != expected) return SequenceGap(acknowledged, sent.sequence());
    LONGLORA_ASSIGN_OR_RETURN(v1::JobEvent event, AcceptEvent(sent.event()));
    events.push_back(std::move(event));
  }
  return events;
}

absl::Status CheckArtifacts(const google::protobuf::RepeatedPtrField<v1::Artifact>& artifacts,
                            absl::string_view folder) {
  if (artifacts.empty()) return CheckpointInvalid("artifacts: at least one is required");
  for (const v1::Artifact& artifact : artifacts) {
    absl::string_view rest = artifact.path();
    if (!common::IsSafeRelativePath(rest) || !absl::ConsumePrefix(&rest, folder)) {
      return CheckpointInvalid(absl::StrCat("artifacts.path: \"", artifact.path(),
                                            "\"; expected a relative path below \"", folder, "\""));
    }
    if (artifact.size_bytes() < 0 || !common::IsSha256Hex(artifact.sha256())) {
      return CheckpointInvalid(
          absl::StrCat("artifacts: size or sha256 of ", artifact.path(), " is not valid"));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckCommit(const worker::v1::CommitArtifactsRequest& request) {
  switch (request.set_case()) {
    case worker::v1::CommitArtifactsRequest::kCheckpoint: {
      const v1::Checkpoint& checkpoint = request.checkpoint();
      if (checkpoint.step() < 1) return CheckpointInvalid("checkpoint.step: must be at least 1");
      return CheckArtifacts(checkpoint.artifacts(),
                            absl::StrCat("checkpoints/step-", checkpoint.step(), "/"));
    }
    case worker::v1::CommitArtifactsRequest::kResults:
      return CheckArtifacts(request.results().artifacts(), "");
    case worker::v1::CommitArtifactsRequest::SET_NOT_SET:
      break;
  }
  return CheckpointInvalid("set: a checkpoint or results are required");
}

}  // namespace

absl::StatusOr<Scheduler::LiveJob*> Scheduler::FindAttempt(absl::string_view worker,
                                                           absl::string_view job, int32_t attempt) {
  LONGLORA_ASSIGN_OR_RETURN(const std::string id, JobIdOf(job));
  LiveJob* live = FindLive(id);
  if (live != nullptr && HasActiveAttempt(live->job.record.job().state()) &&
      PresentAttempt(live->job) == attempt &&
      live->job.record.job().attempts().rbegin()->worker() == WorkerName(worker)) {
    return live;
  }
  // A worker forgets what it is told is stale. The store may still refuse what made it so, and then
  // the attempt is the present one after all: it would be run a second time under its number.
  if (live != nullptr && !(live->pending.decided() && live->pending.Wait().ok())) {
    return absl::UnavailableError(absl::StrCat(job, " is just changing; send again"));
  }
  ++counters_.stale_messages_refused;
  return StaleAttempt(job, attempt);
}

absl::Status Scheduler::CheckAttempt(absl::string_view worker, absl::string_view job,
                                     int32_t attempt) {
  absl::MutexLock lock(&mutex_);
  return FindAttempt(worker, job, attempt).status();
}

Answer<int64_t> Scheduler::BeginRecordEvents(const worker::v1::ReportEventsRequest& request) {
  if (request.events_size() > kEventsMax) {
    return EventInvalid(
        absl::StrCat("events: ", request.events_size(), " at once; at most ", kEventsMax));
  }
  std::vector<Handed> handed;
  CommitTicket pending;
  int64_t acknowledged = 0;
  {
    absl::MutexLock lock(&mutex_);
    LONGLORA_ASSIGN_OR_RETURN(LiveJob * live,
                              FindAttempt(request.worker(), request.job(), request.attempt()));
    LONGLORA_ASSIGN_OR_RETURN(const std::vector<v1::JobEvent> events,
                              NewEvents(request, live->job.cursor.acknowledged_sequence));
    if (!events.empty()) {
      const Moment now = Now();
      JobEditor editor(live->job, now.date);
      LONGLORA_RETURN_IF_ERROR(editor.RecordEvents(events));
      handed.push_back(Apply(*live, std::move(editor), now));
      for (const v1::JobEvent& event : events) {
        if (!event.has_step()) continue;
        ++counters_.steps_trained;
        counters_.tokens_trained += event.step().tokens();
      }
    }
    acknowledged = live->job.cursor.acknowledged_sequence;
    pending = live->pending;
  }
  return {pending,
          [this, handed = std::move(handed), pending, acknowledged]() -> absl::StatusOr<int64_t> {
            LONGLORA_RETURN_IF_ERROR(Await(handed));
            // Events that came twice may still be on their way to the disk for the first time.
            if (!pending.Wait().ok())
              return absl::UnavailableError("the events are not stored yet; send again");
            return acknowledged;
          }};
}

Answer<std::vector<v1::Checkpoint>> Scheduler::BeginCommitArtifacts(
    const worker::v1::CommitArtifactsRequest& request) {
  LONGLORA_RETURN_IF_ERROR(CheckCommit(request));
  std::vector<v1::Checkpoint> dropped;
  std::vector<Handed> handed;
  CommitTicket pending;
  {
    absl::MutexLock lock(&mutex_);
    LONGLORA_ASSIGN_OR_RETURN(LiveJob * live,
                              FindAttempt(request.worker(), request.job(), request.attempt()));
    const Moment now = Now();
    JobEditor editor(live->job, now.date);
    if (request.has_checkpoint()) {
      dropped = editor.CommitCheckpoint(request.checkpoint());
    } else {
      const auto& results = request.results().artifacts();
      editor.CommitResults({results.begin(), results.end()});
    }
    if (editor.changed()) handed.push_back(Apply(*live, std::move(editor), now));
    pending = live->pending;
  }
  return {pending,
          [this, handed = std::move(handed), pending,
           dropped = std::move(dropped)]() mutable -> absl::StatusOr<std::vector<v1::Checkpoint>> {
            LONGLORA_RETURN_IF_ERROR(Await(handed));
            if (!pending.Wait().ok())
              return absl::UnavailableError("the commit is not stored yet; send again");
            return std::move(dropped);
          }};
}

void Scheduler::EndAttempt(LiveJob& live, const AttemptEnd& end, Moment now,
                           std::vector<Handed>& handed) {
  const AttemptFacts facts = FactsOf(live.job, options_.failed_attempts_max);
  const Verdict verdict = JudgeAttempt(end, facts);
  const int32_t failures = facts.checkpoint_committed ? 1 : facts.failures_before + 1;
  const absl::Time retry_time = now.date + common::BackoffDelay(options_.back_off, failures, 0.0);
  JobEditor editor(live.job, now.date);
  // The state machine lets an active attempt end in every way; anything else would be our bug, and
  // then the job stays as it is.
  if (!editor.EndAttempt(verdict, retry_time).ok()) return;
  const std::string outcome = verdict.failure.has_value()
                                  ? verdict.failure->reason()
                                  : v1::Attempt::State_Name(verdict.attempt_state);
  ++counters_.attempts_ended[outcome];
  const v1::FineTuneJob& job = editor.job().record.job();
  const v1::Attempt& attempt = *job.attempts().rbegin();
  usage_.AddEnded(job, attempt);
  AddLedger(attempt.ledger(), counters_.ledgers[std::string(QueueOf(job.spec()))]);
  handed.push_back(Apply(live, std::move(editor), now));
}

}  // namespace longlora::server
