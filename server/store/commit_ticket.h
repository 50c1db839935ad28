// The promise that a write handed to a JobStore will be decided. Copies share one outcome.
// Thread-safe.
#ifndef LONGLORA_SERVER_STORE_COMMIT_TICKET_H_
#define LONGLORA_SERVER_STORE_COMMIT_TICKET_H_

#include <functional>
#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "absl/synchronization/notification.h"
#include "absl/time/time.h"

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
    state_->decided.WaitForNotification();
    return state_->outcome;
  }
  bool decided() const { return state_->decided.HasBeenNotified(); }
  // For stores.
  void Decide(absl::Status outcome) const {
    state_->outcome = std::move(outcome);
    state_->decided.Notify();
  }

 private:
  struct State {
    absl::Status outcome;  // written once, before `decided`
    absl::Notification decided;
  };
  explicit CommitTicket(std::shared_ptr<State> state) : state_(std::move(state)) {}

  std::shared_ptr<State> state_;
};

}  // namespace longlora::server

#endif  // LONGLORA_SERVER_STORE_COMMIT_TICKET_H_
