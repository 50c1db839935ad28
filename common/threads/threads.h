// Where the server and the agent start threads and block. In production these are the machine's
// threads and Abseil's waits; the simulator (tests/simulation) puts fibers of one thread and a
// virtual clock in their place, so that a whole run is a function of its seed. What it is to drive
// must start no thread and wait for nothing but through here (tests/tidy holds it). One for the
// process, not one handed to every object: whoever blocks would have to be given it, and nobody
// ever needs two.
#ifndef LONGLORA_COMMON_THREADS_THREADS_H_
#define LONGLORA_COMMON_THREADS_THREADS_H_

#include <functional>
#include <memory>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

namespace longlora::common {

class Threads {
 public:
  class Running {
   public:
    virtual ~Running() = default;
    // Blocks until the body has returned. Call once, before the end of Running.
    virtual void Join() = 0;
  };

  virtual ~Threads() = default;
  virtual std::unique_ptr<Running> Start(std::function<void()> body) = 0;
  // As absl::Mutex::AwaitWithTimeout; the caller holds `mutex` and no other.
  virtual bool Await(absl::Mutex* mutex, const absl::Condition& condition,
                     absl::Duration timeout) = 0;
  virtual void Yield() = 0;

  static Threads& Current();
  // nullptr: the machine's again. Only while nothing runs on the former.
  static void Replace(Threads* threads);
};

// As std::thread, but that join is always needed.
class Thread {
 public:
  explicit Thread(std::function<void()> body)
      : running_(Threads::Current().Start(std::move(body))) {}
  void join() { running_->Join(); }

 private:
  const std::unique_ptr<Threads::Running> running_;
};

// As absl::Mutex::AwaitWithTimeout and absl::Mutex::Await.
inline bool AwaitWithTimeout(absl::Mutex* mutex, const absl::Condition& condition,
                             absl::Duration timeout) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
  return Threads::Current().Await(mutex, condition, timeout);
}
inline void Await(absl::Mutex* mutex, const absl::Condition& condition)
    ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
  Threads::Current().Await(mutex, condition, absl::InfiniteDuration());
}
// Where others may well come between what the caller knows and what it does about it; it holds no
// lock that they want. The simulator lets them.
inline void Yield() { Threads::Current().Yield(); }

}  // namespace longlora::common

#endif  // LONGLORA_COMMON_THREADS_THREADS_H_
