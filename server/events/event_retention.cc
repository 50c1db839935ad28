#include "server/events/event_retention.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <vector>

#include "common/status/status_macros.h"
#include "server/store/timestamps.h"

namespace longlora::server {
namespace {

constexpr absl::Duration kInterval = absl::Minutes(10);

// Events are dropped many at once, not one for each that comes.
int64_t Allowance(int64_t events_max) { return events_max + events_max / 10; }

// One pass over the jobs that `query` names; more pages follow one that is full.
absl::StatusOr<int64_t> ApplyTo(EventLogQuery query, JobStore& store,
                                const EventRetentionOptions& options, absl::Time now) {
  int64_t changed = 0;
  while (true) {
    LONGLORA_ASSIGN_OR_RETURN(const std::vector<StoredJob> jobs, store.ListEventLogs(query));
    for (const StoredJob& job : jobs) {
      const int64_t through = DropThrough(job, options, now);
      if (through == 0) continue;
      LONGLORA_RETURN_IF_ERROR(store.EnqueueDropEvents(job.id, through).Wait());
      ++changed;
    }
    if (static_cast<int32_t>(jobs.size()) < query.limit) return changed;
    query.after_order = jobs.back().order;
  }
}

}  // namespace

int64_t DropThrough(const StoredJob& job, const EventRetentionOptions& options, absl::Time now) {
  const int64_t last = job.cursor.last_event_sequence;
  int64_t through = 0;
  if (options.events_max > 0) through = std::max<int64_t>(0, last - options.events_max);
  const v1::FineTuneJob& view = job.record.job();
  if (IsFinal(view.state()) && now - FromTimestamp(view.end_time()) > options.age_max) {
    through = last - 1;
  }
  return through;
}

absl::StatusOr<int64_t> ApplyRetention(JobStore& store, const EventRetentionOptions& options,
                                       absl::Time now) {
  int64_t changed = 0;
  if (options.events_max > 0) {
    EventLogQuery query;
    query.more_than = Allowance(options.events_max);
    LONGLORA_ASSIGN_OR_RETURN(changed, ApplyTo(query, store, options, now));
  }
  if (options.age_max == absl::InfiniteDuration()) return changed;
  EventLogQuery query;
  query.more_than = 1;
  query.final_only = true;
  LONGLORA_ASSIGN_OR_RETURN(const int64_t aged, ApplyTo(query, store, options, now));
  return changed + aged;
}

EventRetention::EventRetention(EventRetentionOptions options, JobStore* store, common::Clock* clock)
    : thread_([this, options, store, clock] { Run(options, *store, *clock); }) {}

EventRetention::~EventRetention() {
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
  }
  thread_.join();
}

void EventRetention::Run(const EventRetentionOptions& options, JobStore& store,
                         common::Clock& clock) {
  while (true) {
    {
      // Not at once: a server that starts has better things to do.
      absl::MutexLock lock(&mutex_);
      if (common::AwaitWithTimeout(&mutex_, absl::Condition(&stopping_), kInterval)) return;
    }
    const absl::StatusOr<int64_t> changed = ApplyRetention(store, options, clock.Now());
    if (!changed.ok()) {
      spdlog::warn("old events stay for now: {}", changed.status().ToString());
    } else if (*changed > 0) {
      spdlog::info("dropped old events of {} job(s)", *changed);
    }
  }
}

}  // namespace longlora::server
