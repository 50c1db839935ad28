// A job store in front of another that keeps its decisions back when told to: a disk that is slow.
// Thread-safe. For tests of server/api.
#ifndef LONGLORA_TESTS_SERVER_API_HELD_STORE_H_
#define LONGLORA_TESTS_SERVER_API_HELD_STORE_H_

#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "tests/server/store/forwarding_job_store.h"

namespace longlora::server {

class HeldStore : public ForwardingJobStore {
 public:
  using ForwardingJobStore::ForwardingJobStore;
  ~HeldStore() override { Release(); }

  // From now on nothing is decided, until Release.
  void Hold() {
    absl::MutexLock lock(&mutex_);
    holding_ = true;
  }
  void Release() {
    std::vector<Held> held;
    {
      absl::MutexLock lock(&mutex_);
      holding_ = false;
      held.swap(held_);
    }
    for (const Held& one : held) one.promised.Decide(one.real.Wait());
  }
  // Blocks until so many decisions are held.
  void AwaitHeld(size_t count) {
    absl::MutexLock lock(&mutex_);
    wanted_ = count;
    mutex_.Await(absl::Condition(this, &HeldStore::HasWanted));
  }

  CommitTicket Enqueue(JobTransaction change) override {
    return Keep(inner().Enqueue(std::move(change)));
  }
  CommitTicket EnqueueWorker(internal::v1::WorkerRecord worker) override {
    return Keep(inner().EnqueueWorker(std::move(worker)));
  }
  CommitTicket EnqueueForgetWorker(std::string name) override {
    return Keep(inner().EnqueueForgetWorker(std::move(name)));
  }
  CommitTicket Confirm() override { return Keep(inner().Confirm()); }

 private:
  struct Held {
    CommitTicket real;
    CommitTicket promised;
  };
  CommitTicket Keep(CommitTicket real) {
    absl::MutexLock lock(&mutex_);
    if (!holding_) return real;
    CommitTicket promised = CommitTicket::Pending();
    held_.push_back({std::move(real), promised});
    return promised;
  }
  bool HasWanted() const { return held_.size() >= wanted_; }

  absl::Mutex mutex_;
  bool holding_ = false;
  std::vector<Held> held_;
  size_t wanted_ = 0;
};

}  // namespace longlora::server

#endif  // LONGLORA_TESTS_SERVER_API_HELD_STORE_H_
