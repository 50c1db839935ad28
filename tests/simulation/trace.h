// What happened in a simulation, line by line with the virtual time, written while it happens so
// that it is there also when the program crashes. Costs next to nothing when it is off: a failing
// seed is simply run again.
#ifndef LONGLORA_TESTS_SIMULATION_TRACE_H_
#define LONGLORA_TESTS_SIMULATION_TRACE_H_

#include <cstdio>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "common/time/fake_clock.h"

namespace longlora::simulation {

class Trace {
 public:
  Trace(bool on, common::FakeClock* clock) : on_(on), clock_(clock) {}

  bool on() const { return on_; }
  template <typename... Parts>
  void Add(const Parts&... parts) {
    if (!on_) return;
    std::printf("%9.3f  %s\n", absl::ToDoubleSeconds(clock_->MonotonicNow().since_start()),
                absl::StrCat(parts...).c_str());
  }

 private:
  const bool on_;
  common::FakeClock* const clock_;
};

}  // namespace longlora::simulation

#endif  // LONGLORA_TESTS_SIMULATION_TRACE_H_
