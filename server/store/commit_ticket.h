// The promise that a write handed to a JobStore will be decided. Copies share one outcome.
// Thread-safe.
#ifndef LONGLORA_SERVER_STORE_COMMIT_TICKET_H_
#define LONGLORA_SERVER_STORE_COMMIT_TICKET_H_

#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "common/threads/threads.h"

namespace longlora::server {

// Told how long a commit took, which may hold many changes. For metrics; must return at once.
using CommitObserver = std::function<void(absl::Duration)>;

class CommitTicket {
 public:
  // A write that is already decided.
  explicit CommitTicket(absl::Status outcome = absl::OkStatus()) : CommitTicket(Pending()) {
    Decide(std::move(outcome));
  }
  // One that its store will decide, exactly once.
  static CommitTicket Pending() { return CommitTicket(std::make_shared<State>()); }

  // Blocks until the outcome is known. OK: the write survives a power loss. Else nothing of it was
  // stored.
  absl::Status Wait() const {
    absl::MutexLock lock(&state_->mutex);
    common::Await(&state_->mutex, absl::Condition(&state_->decided));
    return state_->outcome;
  }
  bool decided() const {
    absl::MutexLock lock(&state_->mutex);
    return state_->decided;
  }
  // Calls `callback` once when the outcome is known: at once when it is already, else from the
  // thread that decides, which everybody waits for: it must only hand work on.
  void OnDecided(std::function<void()> callback) const {
    {
      absl::MutexLock lock(&state_->mutex);
      if (!state_->decided) {
        state_->callbacks.push_back(std::move(callback));
        return;
      }
    }
    callback();
  }
  // For stores.
  void Decide(absl::Status outcome) const {
    std::vector<std::function<void()>> callbacks;
    {
      absl::MutexLock lock(&state_->mutex);
      state_->outcome = std::move(outcome);
      state_->decided = true;
      callbacks.swap(state_->callbacks);
    }
    for (const std::function<void()>& callback : callbacks) callback();
  }

 private:
  struct State {
    absl::Mutex mutex;
    absl::Status outcome ABSL_GUARDED_BY(mutex);
    bool decided ABSL_GUARDED_BY(mutex) = false;
    std::vector<std::function<void()>> callbacks ABSL_GUARDED_BY(mutex);
  };
  explicit CommitTicket(std::shared_ptr<State> state) : state_(std::move(state)) {}

  std::shared_ptr<State> state_;
};

}  // namespace longlora::server

#endif  // LONGLORA_SERVER_STORE_COMMIT_TICKET_H_
