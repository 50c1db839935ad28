#include "server/api/watch_stream.h"

#include <spdlog/spdlog.h>

#include <optional>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "rpc/grpc_status.h"
#include "server/api/client_identity.h"
#include "server/api/edge_status.h"

namespace longlora::server {
namespace {

// The work is reading small pages from the store.
constexpr int kThreads = 4;
constexpr int32_t kPageEvents = 100;
constexpr absl::Duration kRetryDelay = absl::Seconds(5);
// How often stalled watchers are looked for, in the time that they have.
constexpr int kLooksPerStall = 4;

absl::Status ServerStopping() {
  return rpc::MakeError(absl::StatusCode::kUnavailable,
                        "the server is stopping; watch again with after_sequence",
                        {.reason = "SERVER_STOPPING"});
}

absl::Status TooManyStreams(absl::string_view whose, int limit, absl::string_view flag) {
  return rpc::MakeError(
      absl::StatusCode::kResourceExhausted,
      absl::StrCat(whose, " has ", limit, " watch streams open already (", flag, ")"),
      {.reason = "TOO_MANY_WATCHES", .retry_delay = kRetryDelay});
}

}  // namespace

// One stream. At any moment at most one of these has it: the queue of runnable streams, a thread in
// Run(), or a write under way. `busy_` says whether one does; only that one touches the unguarded
// members.
class WatchStream : public grpc::ServerWriteReactor<v1::WatchFineTuneJobResponse>,
                    public std::enable_shared_from_this<WatchStream> {
 public:
  WatchStream(WatchStreams* streams, grpc::CallbackServerContext* context,
              const v1::WatchFineTuneJobRequest& request)
      : client(ClientOf(*context)),
        streams_(streams),
        job_(request.name()),
        sequence_(request.after_sequence()),
        context_(context) {}

  const std::string client;

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

  // Ends the stream when a write was begun before `date` and is not done: the watcher takes
  // nothing. No status reaches one that does not read, so it sees CANCELLED; the last sequence it
  // has seen says where to go on.
  void DropIfStalledSince(common::MonotonicTime date) ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_);
    if (!write_begun_.has_value() || *write_begun_ >= date) return;
    spdlog::info("a watcher of {}, {}, takes nothing and is cut off", job_, client);
    // Under the lock: while the write is not done the context lives.
    context_->TryCancel();
  }

  void OnWriteDone(bool ok) override {
    {
      absl::MutexLock lock(&mutex_);
      write_begun_.reset();
    }
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
    absl::StatusOr<v1::FineTuneJob> job = streams_->reader_->GetJob(job_);
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
    Write();
    return true;
  }

  bool WriteEvent() {
    v1::JobEvent& event = page_.events[next_event_++];
    sequence_ = event.sequence();
    *response_.mutable_event() = std::move(event);
    Write();
    return true;
  }

  void Write() ABSL_LOCKS_EXCLUDED(mutex_) {
    {
      absl::MutexLock lock(&mutex_);
      write_begun_ = streams_->clock_->MonotonicNow();
    }
    StartWrite(&response_);
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

  grpc::CallbackServerContext* const context_;
  absl::Mutex mutex_;
  bool busy_ ABSL_GUARDED_BY(mutex_) = false;
  bool woken_ ABSL_GUARDED_BY(mutex_) = false;
  std::optional<absl::Status> end_ ABSL_GUARDED_BY(mutex_);
  std::optional<common::MonotonicTime> write_begun_ ABSL_GUARDED_BY(mutex_);  // and not done
};

WatchStreams::WatchStreams(JobReader* reader, EventLog* events, const Limits& limits,
                           common::Clock* clock)
    : reader_(reader), events_(events), limits_(limits), clock_(clock) {
  for (int i = 0; i < kThreads; ++i) threads_.emplace_back([this] { Serve(); });
  threads_.emplace_back([this] { LookForStalled(); });
}

WatchStreams::~WatchStreams() {
  {
    absl::MutexLock lock(&mutex_);
    closed_ = true;
  }
  for (std::thread& thread : threads_) thread.join();
}

grpc::ServerWriteReactor<v1::WatchFineTuneJobResponse>* WatchStreams::Start(
    grpc::CallbackServerContext* context, const v1::WatchFineTuneJobRequest& request) {
  auto stream = std::make_shared<WatchStream>(this, context, request);
  absl::Status admitted;
  {
    absl::MutexLock lock(&mutex_);
    admitted = Admit(stream->client);
    open_.insert(stream);
    ++open_by_client_[stream->client];
  }
  if (admitted.ok()) {
    stream->Wake();
  } else {
    stream->End(std::move(admitted));
  }
  return stream.get();
}

absl::Status WatchStreams::Admit(const std::string& client) {
  if (stopping_) return ServerStopping();
  if (open_.size() >= static_cast<size_t>(limits_.watches)) {
    return TooManyStreams("the server", limits_.watches, "--max-watches");
  }
  const auto own = open_by_client_.find(client);
  if (own != open_by_client_.end() && own->second >= limits_.watches_per_client) {
    return TooManyStreams(client, limits_.watches_per_client, "--max-watches-per-client");
  }
  return absl::OkStatus();
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
  const auto own = open_by_client_.find(stream->client);
  if (--own->second == 0) open_by_client_.erase(own);
}

void WatchStreams::LookForStalled() {
  const auto closed_meanwhile = [this] {
    absl::MutexLock lock(&mutex_);
    return mutex_.AwaitWithTimeout(absl::Condition(&closed_), limits_.watch_stall / kLooksPerStall);
  };
  while (!closed_meanwhile()) DropStalled();
}

void WatchStreams::DropStalled() {
  const common::MonotonicTime begun = clock_->MonotonicNow() + -limits_.watch_stall;
  std::vector<std::shared_ptr<WatchStream>> open;
  {
    absl::MutexLock lock(&mutex_);
    open.assign(open_.begin(), open_.end());
  }
  for (const std::shared_ptr<WatchStream>& stream : open) stream->DropIfStalledSince(begun);
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
