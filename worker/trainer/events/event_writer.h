// Writes the trainer's events, one JSON object a line, to standard output or an inherited
// descriptor. A reader that is gone is an error: the trainer ends, because nobody would see its
// work. Not thread-safe.
#ifndef LONGLORA_WORKER_TRAINER_EVENTS_EVENT_WRITER_H_
#define LONGLORA_WORKER_TRAINER_EVENTS_EVENT_WRITER_H_

#include "absl/status/status.h"
#include "common/time/clock.h"
#include "common/trainer_protocol/trainer_event.h"

namespace longlora::trainer {

class EventWriter {
 public:
  // `fd` stays the caller's. Rank 0 speaks for the job; another rank writes its errors only.
  EventWriter(int fd, int rank, common::Clock& clock) : fd_(fd), rank_(rank), clock_(clock) {}

  // Stamps the time and writes the whole line. UNAVAILABLE when the descriptor takes no more (a
  // closed pipe, a full disk); the caller has SIGPIPE ignored.
  absl::Status Write(decltype(common::TrainerEvent::body) body);

 private:
  const int fd_;
  const int rank_;
  common::Clock& clock_;
};

}  // namespace longlora::trainer

#endif  // LONGLORA_WORKER_TRAINER_EVENTS_EVENT_WRITER_H_
