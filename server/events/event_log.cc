#include "server/events/event_log.h"

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status/status_macros.h"
#include "rpc/grpc_status.h"
#include "server/events/job_errors.h"
#include "server/store/resource_names.h"

namespace longlora::server {

void AppendEvent(v1::JobEvent event, JobTransaction& transaction) {
  event.set_job(JobName(transaction.id));
  event.set_sequence(++transaction.cursor.last_event_sequence);
  transaction.events.push_back(std::move(event));
}

absl::StatusOr<EventPage> EventLog::Read(absl::string_view job, int64_t after_sequence,
                                         int32_t limit) {
  LONGLORA_ASSIGN_OR_RETURN(const std::string id, JobIdOf(job));
  absl::StatusOr<EventPage> page = store_.ReadEvents(id, after_sequence, limit);
  if (!page.ok()) return WithJobReason(page.status(), id);
  if (after_sequence > page->last_event_sequence) {
    return rpc::MakeError(
        absl::StatusCode::kOutOfRange,
        absl::StrCat("the last event of ", job, " is ", page->last_event_sequence, ", not ",
                     after_sequence, " or later: read on from there"),
        {"SEQUENCE_AHEAD", {{"last_event_sequence", absl::StrCat(page->last_event_sequence)}}, {}});
  }
  if (after_sequence > 0 && after_sequence + 1 < page->first_event_sequence) {
    return rpc::MakeError(
        absl::StatusCode::kOutOfRange,
        absl::StrCat("the events of ", job, " before ", page->first_event_sequence,
                     " are no longer kept: read from 0 on, or from there"),
        {"EVENTS_DROPPED",
         {{"first_event_sequence", absl::StrCat(page->first_event_sequence)}},
         {}});
  }
  return page;
}

absl::StatusOr<EventSubscription> EventLog::Subscribe(absl::string_view job,
                                                      std::function<void()> wake) {
  LONGLORA_ASSIGN_OR_RETURN(const std::string id, JobIdOf(job));
  return hub_.Subscribe(id, std::move(wake));
}

}  // namespace longlora::server
