// Time, injected so that tests own it. Real in production, common/time/fake_clock.h in tests.
#ifndef LONGLORA_COMMON_TIME_CLOCK_H_
#define LONGLORA_COMMON_TIME_CLOCK_H_

#include "absl/time/time.h"

namespace longlora::common {

// A point of a clock that never jumps and has no relation to the date.
class MonotonicTime {
 public:
  constexpr MonotonicTime() = default;
  explicit MonotonicTime(absl::Duration since_start) : since_start_(since_start) {}
  absl::Duration since_start() const { return since_start_; }
  friend absl::Duration operator-(MonotonicTime a, MonotonicTime b) {
    return a.since_start_ - b.since_start_;
  }
  friend MonotonicTime operator+(MonotonicTime a, absl::Duration d) {
    return MonotonicTime(a.since_start_ + d);
  }
  friend bool operator<(MonotonicTime a, MonotonicTime b) {
    return a.since_start_ < b.since_start_;
  }
  friend bool operator>=(MonotonicTime a, MonotonicTime b) { return !(a < b); }
  friend bool operator==(MonotonicTime a, MonotonicTime b) {
    return a.since_start_ == b.since_start_;
  }

 private:
  absl::Duration since_start_ = absl::ZeroDuration();
};

// Thread-safe.
class Clock {
 public:
  virtual ~Clock() = default;
  // The date; may jump. For people and records only.
  virtual absl::Time Now() = 0;
  // For leases, timeouts and rates.
  virtual MonotonicTime MonotonicNow() = 0;

  // The machine's clock; lives for ever.
  static Clock& Real();
};

}  // namespace longlora::common

#endif  // LONGLORA_COMMON_TIME_CLOCK_H_
