#include "client/watch.h"

#include <optional>

#include "absl/time/clock.h"
#include "common/status/status_macros.h"

namespace longlora::client {
namespace {

// The state that outlives a stream.
class Watch {
 public:
  Watch(FineTuneClient& client, const std::string& name, const WatchOptions& options,
        WatchObserver& observer)
      : client_(client),
        name_(name),
        options_(options),
        observer_(observer),
        last_sequence_(options.after_sequence) {}

  absl::StatusOr<v1::FineTuneJob> Run() {
    while (true) {
      absl::Status ended = ReadStream();
      if (client_.cancellation() != nullptr && client_.cancellation()->cancelled()) {
        return absl::CancelledError("interrupted");
      }
      if (ended.ok()) {
        absl::StatusOr<v1::FineTuneJob> job = client_.GetJob(name_);
        if (job.ok() && IsFinal(job->state()) && job->last_event_sequence() <= last_sequence_) {
          return job;
        }
        // A server that shuts down in order may end its streams with OK too.
        ended = job.status();
      }
      if (!ended.ok() && !IsBroken(ended)) return ended;
      LONGLORA_RETURN_IF_ERROR(WaitForServer(ended));
    }
  }

 private:
  // CANCELLED that we did not ask for: the server cut its streams while it stopped, or this one
  // because we were too slow.
  static bool IsBroken(const absl::Status& status) {
    return MayTryAgain(status) || absl::IsCancelled(status);
  }

  absl::Status ReadStream() {
    grpc::ClientContext context;
    CancellableCall call(client_.cancellation(), &context);
    v1::WatchFineTuneJobRequest request;
    request.set_name(name_);
    request.set_after_sequence(last_sequence_);
    auto stream = client_.jobs().WatchFineTuneJob(&context, request);
    v1::WatchFineTuneJobResponse response;
    while (stream->Read(&response)) {
      NoteConnected();
      if (response.has_job()) observer_.OnJob(response.job());
      if (response.has_event()) TakeEvent(response.event());
    }
    return client_.ToStatus(stream->Finish());
  }

  void TakeEvent(const v1::JobEvent& event) {
    if (event.sequence() <= last_sequence_) return;
    if (event.sequence() > last_sequence_ + 1) {
      observer_.OnGap(last_sequence_ + 1, event.sequence() - 1);
    }
    last_sequence_ = event.sequence();
    fruitless_streams_ = 0;
    observer_.OnEvent(event);
  }

  void NoteConnected() {
    connected_once_ = true;
    failures_ = 0;
    broken_since_.reset();
    if (told_disconnected_) observer_.OnReconnected();
    told_disconnected_ = false;
  }

  // The pause before the next stream; an error when it is time to give up.
  absl::Status WaitForServer(const absl::Status& ended) {
    const absl::Time now = absl::Now();
    if (!broken_since_.has_value()) broken_since_ = now;
    ++failures_;
    ++fruitless_streams_;
    const bool give_up = connected_once_ ? now - *broken_since_ >= options_.reconnect_timeout
                                         : failures_ >= client_.options().retry.attempts;
    if (give_up) {
      return ended.ok() ? absl::UnavailableError("the server ended the stream before the job ended")
                        : ended;
    }
    // One failed call right after a break is a restart or a hiccup; the second is worth telling.
    if (connected_once_ && failures_ >= 2 && !told_disconnected_) {
      told_disconnected_ = true;
      observer_.OnDisconnected(ended);
    }
    if (!WaitToRetry(options_.backoff, fruitless_streams_, ended, client_.cancellation())) {
      return absl::CancelledError("interrupted");
    }
    client_.Reconnect();
    return absl::OkStatus();
  }

  FineTuneClient& client_;
  const std::string name_;
  const WatchOptions options_;
  WatchObserver& observer_;
  int64_t last_sequence_;
  bool connected_once_ = false;
  bool told_disconnected_ = false;
  int failures_ = 0;           // streams in a row that did not even begin
  int fruitless_streams_ = 0;  // streams in a row that brought no event
  std::optional<absl::Time> broken_since_;
};

}  // namespace

bool IsFinal(v1::FineTuneJob::State state) {
  return state == v1::FineTuneJob::SUCCEEDED || state == v1::FineTuneJob::FAILED ||
         state == v1::FineTuneJob::CANCELLED;
}

absl::StatusOr<v1::FineTuneJob> WatchJob(FineTuneClient& client, const std::string& name,
                                         const WatchOptions& options, WatchObserver& observer) {
  return Watch(client, name, options, observer).Run();
}

}  // namespace longlora::client
