#include "common/time/clock.h"

#include <ctime>

#include "absl/time/clock.h"

namespace longlora::common {
namespace {

class RealClock : public Clock {
 public:
  absl::Time Now() override { return absl::Now(); }
  MonotonicTime MonotonicNow() override {
    timespec now;
    // BOOTTIME also counts while the machine is suspended, so a lease lapses meanwhile.
    clock_gettime(CLOCK_BOOTTIME, &now);
    return MonotonicTime(absl::DurationFromTimespec(now));
  }
};

}  // namespace

Clock& Clock::Real() {
  static RealClock* const clock = new RealClock;
  return *clock;
}

}  // namespace longlora::common
