// The only source of chance in a simulation: the same seed gives the same numbers everywhere, which
// the standard library's distributions do not promise. Not thread-safe.
#ifndef LONGLORA_TESTS_SIMULATION_RANDOM_H_
#define LONGLORA_TESTS_SIMULATION_RANDOM_H_

#include <cstdint>

#include "absl/time/time.h"

namespace longlora::simulation {

class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}

  // SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators).
  uint64_t Next() {
    uint64_t value = state_ += 0x9E3779B97F4A7C15;
    value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9;
    value = (value ^ (value >> 27)) * 0x94D049BB133111EB;
    return value ^ (value >> 31);
  }
  // From `low` to `high`, both included.
  int64_t Between(int64_t low, int64_t high) {
    return low + static_cast<int64_t>(Next() % static_cast<uint64_t>(high - low + 1));
  }
  // In whole milliseconds.
  absl::Duration Between(absl::Duration low, absl::Duration high) {
    return absl::Milliseconds(
        Between(absl::ToInt64Milliseconds(low), absl::ToInt64Milliseconds(high)));
  }
  bool Chance(double probability) {
    return static_cast<double>(Next() >> 11) * 0x1.0p-53 < probability;
  }
  // A source of its own, so that what is drawn there shifts nothing here.
  Random Split() { return Random(Next()); }

 private:
  uint64_t state_;
};

}  // namespace longlora::simulation

#endif  // LONGLORA_TESTS_SIMULATION_RANDOM_H_
