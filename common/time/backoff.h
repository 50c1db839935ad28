// How long to wait before trying again: exponential with jitter. Pure, so that tests need no time.
#ifndef LONGLORA_COMMON_TIME_BACKOFF_H_
#define LONGLORA_COMMON_TIME_BACKOFF_H_

#include <algorithm>
#include <cmath>

#include "absl/time/time.h"

namespace longlora::common {

struct BackoffPolicy {
  absl::Duration initial = absl::Seconds(1);
  absl::Duration maximum = absl::Seconds(30);
  double factor = 2.0;
  double jitter = 0.2;  // share of the delay that is random, [0, 1]
};

// Delay after the `failures`-th failure in a row (from 1). `random` is uniform in [0, 1).
inline absl::Duration BackoffDelay(const BackoffPolicy& policy, int failures, double random) {
  const double grown = std::pow(policy.factor, std::clamp(failures - 1, 0, 60));
  const absl::Duration delay = std::min(policy.initial * grown, policy.maximum);
  return delay * (1.0 - policy.jitter * random);
}

}  // namespace longlora::common

#endif  // LONGLORA_COMMON_TIME_BACKOFF_H_
