// A few threads and what waits for them, first come first served. Used by unary_calls.
// Thread-safe.
#ifndef LONGLORA_SERVER_API_CALL_POOL_H_
#define LONGLORA_SERVER_API_CALL_POOL_H_

#include <deque>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/functional/any_invocable.h"
#include "absl/synchronization/mutex.h"

namespace longlora::server {

class CallPool {
 public:
  using Work = absl::AnyInvocable<void()>;

  explicit CallPool(int threads);
  // Everything posted has run.
  ~CallPool();

  // Runs `work` soon; never blocks. Whoever posts bounds how much waits.
  void Post(Work work) ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  void Run() ABSL_LOCKS_EXCLUDED(mutex_);
  bool HasWork() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return stopping_ || !waiting_.empty();
  }

  absl::Mutex mutex_;
  std::deque<Work> waiting_ ABSL_GUARDED_BY(mutex_);
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<std::thread> threads_;  // last: they use the rest
};

}  // namespace longlora::server

#endif  // LONGLORA_SERVER_API_CALL_POOL_H_
