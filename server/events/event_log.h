// The append-only log of each job: who appends numbers events here, who watches reads them here.
// What is appended becomes durable with the job's change, in one transaction; see
// store/stored_job.h.
#ifndef LONGLORA_SERVER_EVENTS_EVENT_LOG_H_
#define LONGLORA_SERVER_EVENTS_EVENT_LOG_H_

#include <cstdint>
#include <functional>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "longlora/v1/fine_tune_job.pb.h"
#include "server/events/event_hub.h"
#include "server/store/job_store.h"

namespace longlora::server {

// Appends `event` to a change of its job: gives it the job's name and the next sequence.
void AppendEvent(v1::JobEvent event, JobTransaction& transaction);

// Reading side. Thread-safe. Borrows store and hub.
class EventLog {
 public:
  EventLog(JobStoreReader& store, EventHub& hub) : store_(store), hub_(hub) {}

  // At most `limit` events after `after_sequence`, and the job's end of log in the same view: when
  // job_is_final and the last event read is last_event_sequence, nothing follows. `job` is a
  // resource name. NOT_FOUND (JOB_NOT_FOUND), INVALID_ARGUMENT (NAME_INVALID), OUT_OF_RANGE
  // (SEQUENCE_AHEAD: the log ends before `after_sequence`; EVENTS_DROPPED: what follows
  // `after_sequence` is no longer kept). From 0 it is read from the oldest event that is kept.
  absl::StatusOr<EventPage> Read(absl::string_view job, int64_t after_sequence, int32_t limit);

  // See EventHub::Subscribe. `job` is a resource name. INVALID_ARGUMENT (NAME_INVALID).
  absl::StatusOr<EventSubscription> Subscribe(absl::string_view job, std::function<void()> wake);

 private:
  JobStoreReader& store_;
  EventHub& hub_;
};

}  // namespace longlora::server

#endif  // LONGLORA_SERVER_EVENTS_EVENT_LOG_H_
