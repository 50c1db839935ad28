// Wakes those who watch a job when the store has more to read. Carries no events: a watcher reads
// them from the store by sequence at its own speed, so a slow one costs nothing and holds nobody
// back. Thread-safe.
#ifndef LONGLORA_SERVER_EVENTS_EVENT_HUB_H_
#define LONGLORA_SERVER_EVENTS_EVENT_HUB_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"

namespace longlora::server {

class EventHub;

// Ends the subscription when destroyed; afterwards its callback never runs. Must not outlive the
// hub.
class EventSubscription {
 public:
  EventSubscription() = default;
  EventSubscription(EventSubscription&& other) noexcept { *this = std::move(other); }
  EventSubscription& operator=(EventSubscription&& other) noexcept;
  ~EventSubscription();

 private:
  friend class EventHub;
  EventHub* hub_ = nullptr;
  std::string job_id_;
  int64_t key_ = 0;
};

class EventHub {
 public:
  // Calls `wake` after every durable change of the job, from any thread, perhaps more often than
  // there is something new. It must return at once and must not call the hub: set a flag, notify a
  // thread. Subscribe first and read afterwards, so that no change falls between.
  EventSubscription Subscribe(absl::string_view job_id, std::function<void()> wake);

  // There is more to read of this job, or it was deleted.
  void Notify(absl::string_view job_id);
  // The same of every job, perhaps.
  void NotifyAll();

  // Subscriptions at present.
  size_t watcher_count() const;

 private:
  friend class EventSubscription;
  void Unsubscribe(const std::string& job_id, int64_t key);

  mutable absl::Mutex mutex_;
  absl::flat_hash_map<std::string, std::map<int64_t, std::function<void()>>> watchers_
      ABSL_GUARDED_BY(mutex_);
  int64_t next_key_ ABSL_GUARDED_BY(mutex_) = 1;
  size_t watcher_count_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace longlora::server

#endif  // LONGLORA_SERVER_EVENTS_EVENT_HUB_H_
