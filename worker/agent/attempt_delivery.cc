// What an attempt delivers to the server: checkpoints on the way, results at the end, events all
// along.
#include <spdlog/spdlog.h>

#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/io/files.h"
#include "common/status/status_macros.h"
#include "worker/agent/attempt.h"
#include "worker/agent/event_translation.h"
#include "worker/agent/failure.h"

namespace longlora::worker {
namespace {

// For the last events of an attempt that nobody wants any more.
constexpr absl::Duration kUnwantedFlushTimeout = absl::Seconds(5);
// How often the wait for the last events looks whether the attempt was ended meanwhile.
constexpr absl::Duration kFlushSlice = absl::Milliseconds(100);

}  // namespace

UploadContext Attempt::Uploads() {
  return {.id = id_,
          .link = environment_.link,
          .metrics = environment_.metrics,
          .cancellation = &transfers_,
          .policy = environment_.retry};
}

absl::Status Attempt::KeepCheckpoint(const common::CheckpointEvent& event) {
  if (event.path != absl::StrCat("checkpoints/step-", event.step)) {
    return absl::InvalidArgumentError(
        absl::StrCat("the trainer names an unexpected path: ", event.path));
  }
  PendingCheckpoint pending{
      .step = event.step, .loss = std::nullopt, .path = event.path, .best = event.best};
  if (last_step_.has_value() && last_step_->step == event.step) pending.loss = last_step_->loss;
  return checkpoints_->Add(pending, absl::StrCat(directory_.output(), "/", event.path));
}

void Attempt::OnCheckpointFailed(int64_t step, const absl::Status& status) {
  if (IsStale(status)) {
    RequestEnd(End::kStale);
    return;
  }
  Warn(absl::StrCat("checkpoint of step ", step,
                    " was not stored: ", std::string(status.message())));
}

void Attempt::OnEventsRefused(const absl::Status& status) {
  if (IsStale(status)) {
    spdlog::warn("{}: another attempt took over", id_.ToString());
    RequestEnd(End::kStale);
    return;
  }
  spdlog::error("{}: the server refuses its events: {}", id_.ToString(),
                std::string(status.message()));
  {
    absl::MutexLock lock(&mutex_);
    forced_failure_ = FailureFromStatus(status);
  }
  RequestEnd(End::kStop);
}

absl::Status Attempt::DeliverResults() {
  std::vector<api::Artifact> artifacts;
  const UploadContext uploads = Uploads();
  for (const std::string& folder : {finished_->adapter, finished_->merged}) {
    if (folder.empty()) continue;
    if (!common::IsSafeRelativePath(folder)) {
      return FailureError("TRAINER_ERROR",
                          absl::StrCat("the trainer names an unsafe result: ", folder));
    }
    auto uploaded =
        UploadArtifactTree(uploads, absl::StrCat(directory_.output(), "/", folder), folder);
    if (!uploaded.ok() && IsStale(uploaded.status())) RequestEnd(End::kStale);
    if (!uploaded.ok()) return uploaded.status();
    for (api::Artifact& artifact : *uploaded) artifacts.push_back(std::move(artifact));
  }
  if (artifacts.empty())
    return FailureError("TRAINER_ERROR", "the trainer finished without any result");
  const absl::Status committed = RetryCall(uploads.policy, &transfers_, [&] {
    return environment_.link->CommitResults(id_, artifacts, &transfers_);
  });
  if (IsStale(committed)) RequestEnd(End::kStale);
  return committed;
}

void Attempt::FlushEvents() {
  const common::MonotonicTime begin = environment_.clock->MonotonicNow();
  while (!spool_->WaitUntilEmpty(kFlushSlice)) {
    const End end = requested_end();
    if (end == End::kLease || end == End::kStale) return;
    // Whoever stopped or leaves does not wait for a server that is away.
    const bool hurried = end == End::kStop || end == End::kLeave;
    if (hurried && environment_.clock->MonotonicNow() - begin > kUnwantedFlushTimeout) return;
  }
}

void Attempt::Warn(const std::string& message) {
  spdlog::warn("{}: {}", id_.ToString(), message);
  const common::TrainerEvent event = {
      absl::ToDoubleSeconds(environment_.clock->Now() - absl::UnixEpoch()),
      common::WarningEvent{message}};
  // A full spool ends the attempt with the next event of the trainer.
  spool_->Append(*ToJobEvent(event)).IgnoreError();
}

}  // namespace longlora::worker
