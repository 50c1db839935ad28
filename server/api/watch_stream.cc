#include "server/api/watch_stream.h"

#include <optional>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "rpc/grpc_status.h"
#include "server/api/edge_status.h"

namespace longlora::server {
namespace {

// The work is reading small pages from the store.
constexpr int kThreads = 4;
constexpr int32_t kPageEvents = 100;
constexpr size_t kMaxStreams = 50'000;

absl::Status ServerStopping() {
  return rpc::MakeError(absl::StatusCode::kUnavailable,
                        "the server is stopping; watch again with after_sequence",
                        {.reason = "SERVER_STOPPING"});
}

absl::Status TooManyStreams() {
  return rpc::MakeError(absl::StatusCode::kResourceExhausted,
                        absl::StrCat(kMaxStreams, " watch streams are open already"),
                        {.reason = "TOO_MANY_WATCHES"});
}

}  // namespace

// One stream. At any moment at most one of these has it: the queue of runnable streams, a thread in
// Run(), or a write under way. `busy_` says whether one does; only that one touches the unguarded
// members.
class WatchStream : public grpc::ServerWriteReactor<v1::WatchFineTuneJobResponse>,
                    public std::enable_shared_from_this<WatchStream> {
 public:
  WatchStream(WatchStreams* streams, const v1::WatchFineTuneJobRequest& request)
      : streams_(streams), job_(request.name()), sequence_(request.after_sequence()) {}

  // Something changed; from any thread.
  void Wake() ABSL_LOCKS_EXCLUDED(mutex_) {
    {
      absl::MutexLock lock(&mutex_);
      woken_ = true;
      if (busy_) return;
      busy_ = true;
    }
    streams_->Enqueue(shared_from_this());
  }

  // Ends the stream with `status` as soon as a write under way is done.
  void End(absl::Status status) ABSL_LOCKS_EXCLUDED(mutex_) {
    {
      absl::MutexLock lock(&mutex_);
      if (!end_.has_value()) end_ = std::move(status);
    }
    Wake();
  }

  void OnCancel() override { End(absl::CancelledError("the watcher went away")); }

  void OnWriteDone(bool ok) override {
    if (!ok) End(absl::CancelledError("the watcher went away"));
    // The stream is still busy: whoever called Wake meanwhile left it to us.
    streams_->Enqueue(shared_from_this());
  }

  void OnDone() override {
    // After this no Wake comes from the hub, so the last reference is not dropped under its lock.
    subscription_ = EventSubscription();
    streams_->Remove(shared_from_this());
  }

  // Sends what there is to send, or goes back to waiting. Called by one of the threads while busy.
  void Run() ABSL_LOCKS_EXCLUDED(mutex_) {
    do {
      {
        absl::MutexLock lock(&mutex_);
        woken_ = false;
        if (end_.has_value()) return Finish(ToReply(*end_));
      }
      const absl::StatusOr<bool> writing =
          next_event_ < page_.events.size() ? WriteEvent() : Read();
      if (!writing.ok()) return Finish(ToReply(writing.status()));
      if (*writing) return;
      if (complete_) return Finish(grpc::Status::OK);
    } while (!GoIdle());
  }

 private:
  // Whether a write was started; if not, everything stored was sent.
  absl::StatusOr<bool> Read() {
    if (!started_) return WriteJob();
    absl::StatusOr<EventPage> page = streams_->events_->Read(job_, sequence_, kPageEvents);
    if (!page.ok()) return page.status();
    page_ = *std::move(page);
    next_event_ = 0;
    if (!page_.events.empty()) return WriteEvent();
    complete_ = page_.job_is_final && sequence_ >= page_.last_event_sequence;
    return false;
  }

  absl::StatusOr<bool> WriteJob() {
    absl::StatusOr<EventSubscription> subscription =
        streams_->events_->Subscribe(job_, [this] { Wake(); });
    if (!subscription.ok()) return subscription.status();
    subscription_ = *std::move(subscription);
    absl::StatusOr<v1::FineTuneJob> job = streams_->scheduler_->GetJob(job_);
    if (!job.ok()) return job.status();
    if (sequence_ < 0 || sequence_ > job->last_event_sequence()) {
      return rpc::MakeError(
          absl::StatusCode::kOutOfRange,
          absl::StrCat("after_sequence ", sequence_, " is not one of the job's 0 to ",
                       job->last_event_sequence()),
          {.reason = "SEQUENCE_AHEAD",
           .metadata = {{"last_event_sequence", absl::StrCat(job->last_event_sequence())}}});
    }
    *response_.mutable_job() = *std::move(job);
    started_ = true;
    StartWrite(&response_);
    return true;
  }

  bool WriteEvent() {
    v1::JobEvent& event = page_.events[next_event_++];
    sequence_ = event.sequence();
    *response_.mutable_event() = std::move(event);
    StartWrite(&response_);
    return true;
  }

  // False when something happened since Run began to look.
  bool GoIdle() ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_);
    if (woken_) return false;
    busy_ = false;
    return true;
  }

  WatchStreams* const streams_;
  const std::string job_;
  int64_t sequence_;  // of the last event sent
  bool started_ = false;
  bool complete_ = false;
  EventPage page_;
  size_t next_event_ = 0;
  v1::WatchFineTuneJobResponse response_;
  EventSubscription subscription_;

  absl::Mutex mutex_;
  bool busy_ ABSL_GUARDED_BY(mutex_) = false;
  bool woken_ ABSL_GUARDED_BY(mutex_) = false;
  std::optional<absl::Status> end_ ABSL_GUARDED_BY(mutex_);
};

WatchStreams::WatchStreams(Scheduler* scheduler, EventLog* events)
    : scheduler_(scheduler), events_(events) {
  for (int i = 0; i < kThreads; ++i) threads_.emplace_back([this] { Serve(); });
}

WatchStreams::~WatchStreams() {
  {
    absl::MutexLock lock(&mutex_);
    closed_ = true;
  }
  for (std::thread& thread : threads_) thread.join();
}

grpc::ServerWriteReactor<v1::WatchFineTuneJobResponse>* WatchStreams::Start(
    const v1::WatchFineTuneJobRequest& request) {
  auto stream = std::make_shared<WatchStream>(this, request);
  bool stopping = false;
  bool too_many = false;
  {
    absl::MutexLock lock(&mutex_);
    stopping = stopping_;
    too_many = open_.size() >= kMaxStreams;
    open_.insert(stream);
  }
  if (stopping || too_many) {
    stream->End(stopping ? ServerStopping() : TooManyStreams());
  } else {
    stream->Wake();
  }
  return stream.get();
}

void WatchStreams::Stop() {
  std::set<std::shared_ptr<WatchStream>> open;
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
    open = open_;
  }
  for (const std::shared_ptr<WatchStream>& stream : open) stream->End(ServerStopping());
}

void WatchStreams::Enqueue(std::shared_ptr<WatchStream> stream) {
  absl::MutexLock lock(&mutex_);
  runnable_.push_back(std::move(stream));
}

void WatchStreams::Remove(const std::shared_ptr<WatchStream>& stream) {
  absl::MutexLock lock(&mutex_);
  open_.erase(stream);
}

void WatchStreams::Serve() {
  while (true) {
    std::shared_ptr<WatchStream> stream;
    {
      absl::MutexLock lock(&mutex_);
      mutex_.Await(absl::Condition(this, &WatchStreams::HasWork));
      if (runnable_.empty()) return;
      stream = std::move(runnable_.front());
      runnable_.pop_front();
    }
    stream->Run();
  }
}

}  // namespace longlora::server
