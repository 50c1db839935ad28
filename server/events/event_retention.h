// How long events are kept: by the number a job may have, and by the age of jobs that are final.
// The last event of a job always stays, so that whoever watches it learns how it ended.
#ifndef LONGLORA_SERVER_EVENTS_EVENT_RETENTION_H_
#define LONGLORA_SERVER_EVENTS_EVENT_RETENTION_H_

#include <cstdint>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "common/threads/threads.h"
#include "common/time/clock.h"
#include "server/store/job_store.h"

namespace longlora::server {

struct EventRetentionOptions {
  // Newest events that a job keeps; a tenth more may be there. 0: all.
  int64_t events_max = 1'000'000;
  // After which the events of a final job go. Infinite: never.
  absl::Duration age_max = absl::InfiniteDuration();
};

// Up to which sequence a job's events go now; 0: none does.
int64_t DropThrough(const StoredJob& job, const EventRetentionOptions& options, absl::Time now);

// Looks through the whole store once; the number of jobs that lost events.
absl::StatusOr<int64_t> ApplyRetention(JobStore& store, const EventRetentionOptions& options,
                                       absl::Time now);

// Does so again and again, in a thread of its own.
class EventRetention {
 public:
  // Both outlive it.
  EventRetention(EventRetentionOptions options, JobStore* store, common::Clock* clock);
  ~EventRetention();

 private:
  void Run(const EventRetentionOptions& options, JobStore& store, common::Clock& clock);

  absl::Mutex mutex_;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  common::Thread thread_;  // last: it uses the rest
};

}  // namespace longlora::server

#endif  // LONGLORA_SERVER_EVENTS_EVENT_RETENTION_H_
