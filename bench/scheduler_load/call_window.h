// At most so many calls at a time, and how long each took. Thread-safe.
#ifndef LONGLORA_BENCH_SCHEDULER_LOAD_CALL_WINDOW_H_
#define LONGLORA_BENCH_SCHEDULER_LOAD_CALL_WINDOW_H_

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

namespace longlora::bench {

class CallWindow {
 public:
  explicit CallWindow(int limit) : limit_(limit) {}

  // Waits until there is room for another call.
  void Enter() {
    absl::MutexLock lock(&mutex_);
    mutex_.Await(absl::Condition(this, &CallWindow::HasRoom));
    ++open_;
  }
  // `error`: empty when the call succeeded.
  void Leave(absl::Duration took, const std::string& error) {
    absl::MutexLock lock(&mutex_);
    --open_;
    if (error.empty()) {
      took_.push_back(took);
      return;
    }
    ++failures_;
    if (first_error_.empty()) first_error_ = error;
  }
  void WaitUntilEmpty() {
    absl::MutexLock lock(&mutex_);
    mutex_.Await(absl::Condition(this, &CallWindow::IsEmpty));
  }
  int64_t failures() const {
    absl::MutexLock lock(&mutex_);
    return failures_;
  }
  std::string first_error() const {
    absl::MutexLock lock(&mutex_);
    return first_error_;
  }
  // `share` in (0, 1], 0.99 for the 99th percentile; zero when no call succeeded.
  absl::Duration Percentile(double share) const {
    absl::MutexLock lock(&mutex_);
    if (took_.empty()) return absl::ZeroDuration();
    std::vector<absl::Duration> sorted = took_;
    std::sort(sorted.begin(), sorted.end());
    const auto rank = static_cast<size_t>(share * static_cast<double>(sorted.size()));
    return sorted[std::min(rank, sorted.size() - 1)];
  }

 private:
  bool HasRoom() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return open_ < limit_; }
  bool IsEmpty() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return open_ == 0; }

  const int limit_;
  mutable absl::Mutex mutex_;
  int open_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t failures_ ABSL_GUARDED_BY(mutex_) = 0;
  std::string first_error_ ABSL_GUARDED_BY(mutex_);
  std::vector<absl::Duration> took_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace longlora::bench

#endif  // LONGLORA_BENCH_SCHEDULER_LOAD_CALL_WINDOW_H_
