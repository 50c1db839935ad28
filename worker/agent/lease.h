// Until when a worker may go on without hearing from the server. Counted on its own monotonic clock
// from the moment the request was *sent*: the server counts from when it answered, so the worker
// always lets go first. Pure. Not thread-safe.
#ifndef LONGLORA_WORKER_AGENT_LEASE_H_
#define LONGLORA_WORKER_AGENT_LEASE_H_

#include <algorithm>
#include <optional>

#include "absl/time/time.h"
#include "common/time/clock.h"

namespace longlora::worker {

class Lease {
 public:
  // The server answered OK to a request that was sent at `sent`.
  void Renew(common::MonotonicTime sent, absl::Duration duration) {
    const common::MonotonicTime end = sent + duration;
    // An answer that overtook a later one must not shorten the lease.
    if (!end_.has_value() || *end_ < end) end_ = end;
  }
  // True once for each time that the lease ran out.
  bool Lapse(common::MonotonicTime now) {
    if (!end_.has_value() || now < *end_) return false;
    end_.reset();
    return true;
  }
  // Unset: none, because it lapsed or was never given.
  std::optional<common::MonotonicTime> end() const { return end_; }

 private:
  std::optional<common::MonotonicTime> end_;
};

}  // namespace longlora::worker

#endif  // LONGLORA_WORKER_AGENT_LEASE_H_
