// Turns the lines that one rank writes on its events descriptor into events. What a trainer writes
// is never trusted: broken lines become a bounded number of warnings. Not thread-safe.
#ifndef LONGLORA_WORKER_SUPERVISOR_EVENT_READER_H_
#define LONGLORA_WORKER_SUPERVISOR_EVENT_READER_H_

#include <cstdint>
#include <optional>

#include "absl/strings/string_view.h"
#include "common/time/clock.h"
#include "common/trainer_protocol/trainer_event.h"

namespace longlora::worker {

// What is kept of an event's line; a longer one is malformed.
inline constexpr size_t kEventLineBytesMax = 64 << 10;

class EventReader {
 public:
  EventReader(int32_t rank, common::Clock* clock) : rank_(rank), clock_(clock) {}

  // The event of `line`; a warning for a line that is none, at most kWarningsMax of them; else
  // nothing.
  std::optional<common::TrainerEvent> Read(absl::string_view line, bool cut);

  static constexpr int64_t kWarningsMax = 20;

 private:
  const int32_t rank_;
  common::Clock* const clock_;
  int64_t malformed_count_ = 0;
};

}  // namespace longlora::worker

#endif  // LONGLORA_WORKER_SUPERVISOR_EVENT_READER_H_
