// Keeps two attempts from computing on one device: a new attempt waits until the processes of an
// old one are gone. Thread-safe.
#ifndef LONGLORA_WORKER_AGENT_DEVICE_LOCKS_H_
#define LONGLORA_WORKER_AGENT_DEVICE_LOCKS_H_

#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "common/threads/threads.h"
#include "worker/agent/cancellation.h"

namespace longlora::worker {

class DeviceLocks {
 public:
  // Takes all of `ids` at once, waiting as long as any is taken. CANCELLED, with none taken.
  absl::Status Acquire(const std::vector<std::string>& ids, Cancellation* cancellation) {
    absl::MutexLock lock(&mutex_);
    const auto all_free = [&]() ABSL_NO_THREAD_SAFETY_ANALYSIS {
      for (const std::string& id : ids) {
        if (taken_.count(id) > 0) return false;
      }
      return true;
    };
    // The cancellation is not part of the mutex, so it is looked at from time to time.
    while (
        !common::AwaitWithTimeout(&mutex_, absl::Condition(&all_free), absl::Milliseconds(200))) {
      if (cancellation->cancelled()) return absl::CancelledError("no longer wanted");
    }
    taken_.insert(ids.begin(), ids.end());
    return absl::OkStatus();
  }

  void Release(const std::vector<std::string>& ids) {
    absl::MutexLock lock(&mutex_);
    for (const std::string& id : ids) taken_.erase(id);
  }

 private:
  absl::Mutex mutex_;
  std::set<std::string> taken_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace longlora::worker

#endif  // LONGLORA_WORKER_AGENT_DEVICE_LOCKS_H_
