// So many calls a second for each client, and some at once after a pause: a token bucket each.
// Reads the clock it is given, so tests own the time. Thread-safe.
#ifndef LONGLORA_SERVER_API_RATE_LIMIT_H_
#define LONGLORA_SERVER_API_RATE_LIMIT_H_

#include <cstddef>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "common/time/clock.h"

namespace longlora::server {

class RateLimit {
 public:
  // `per_second` 0: no limit. `burst` is at least 1.
  RateLimit(double per_second, int burst, common::Clock* clock)
      : per_second_(per_second), burst_(burst), clock_(clock) {}

  // Zero: the call counts. Else it does not, and this is when there is room for it.
  absl::Duration Take(absl::string_view client) ABSL_LOCKS_EXCLUDED(mutex_);

  // Clients that are remembered: those whose bucket is not full, and some that were not yet
  // forgotten.
  size_t client_count() const ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  struct Bucket {
    double tokens = 0;
    common::MonotonicTime at;  // when it had them
  };
  double TokensAt(const Bucket& bucket, common::MonotonicTime now) const;
  void ForgetFull(common::MonotonicTime now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const double per_second_;
  const double burst_;
  common::Clock* const clock_;
  mutable absl::Mutex mutex_;
  absl::flat_hash_map<std::string, Bucket> buckets_ ABSL_GUARDED_BY(mutex_);
  size_t forget_at_ ABSL_GUARDED_BY(mutex_) = 0;  // so many clients
};

}  // namespace longlora::server

#endif  // LONGLORA_SERVER_API_RATE_LIMIT_H_
