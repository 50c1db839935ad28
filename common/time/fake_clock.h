// A clock that moves only when told to. Thread-safe. For tests.
#ifndef LONGLORA_COMMON_TIME_FAKE_CLOCK_H_
#define LONGLORA_COMMON_TIME_FAKE_CLOCK_H_

#include "absl/synchronization/mutex.h"
#include "common/time/clock.h"

namespace longlora::common {

class FakeClock : public Clock {
 public:
  explicit FakeClock(absl::Time start = absl::FromUnixSeconds(1'700'000'000)) : start_(start) {}

  absl::Time Now() override {
    absl::MutexLock lock(&mutex_);
    return start_ + elapsed_ + jump_;
  }
  MonotonicTime MonotonicNow() override {
    absl::MutexLock lock(&mutex_);
    return MonotonicTime(elapsed_);
  }
  // Lets time pass.
  void Advance(absl::Duration duration) {
    absl::MutexLock lock(&mutex_);
    elapsed_ += duration;
  }
  // Somebody sets the date; the monotonic clock does not notice.
  void Jump(absl::Duration duration) {
    absl::MutexLock lock(&mutex_);
    jump_ += duration;
  }

 private:
  absl::Mutex mutex_;
  const absl::Time start_;
  absl::Duration elapsed_ ABSL_GUARDED_BY(mutex_) = absl::ZeroDuration();
  absl::Duration jump_ ABSL_GUARDED_BY(mutex_) = absl::ZeroDuration();
};

}  // namespace longlora::common

#endif  // LONGLORA_COMMON_TIME_FAKE_CLOCK_H_
