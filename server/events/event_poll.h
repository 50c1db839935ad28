// Wakes every watcher again and again, in a thread of its own: where nobody tells that a job
// changed, because another process writes the store, watchers have to look. Used by
// server/read_server.
#ifndef LONGLORA_SERVER_EVENTS_EVENT_POLL_H_
#define LONGLORA_SERVER_EVENTS_EVENT_POLL_H_

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "common/threads/threads.h"
#include "server/events/event_hub.h"

namespace longlora::server {

class EventPoll {
 public:
  // `hub` outlives it.
  EventPoll(EventHub* hub, absl::Duration interval);
  ~EventPoll();

 private:
  absl::Mutex mutex_;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  common::Thread thread_;  // last: it uses the rest
};

}  // namespace longlora::server

#endif  // LONGLORA_SERVER_EVENTS_EVENT_POLL_H_
