#include "worker/trainer/events/event_writer.h"

#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>
#include <utility>
#include <variant>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"

namespace longlora::trainer {

absl::Status EventWriter::Write(decltype(common::TrainerEvent::body) body) {
  if (rank_ != 0 && !std::holds_alternative<common::ErrorEvent>(body)) return absl::OkStatus();
  common::TrainerEvent event;
  event.time = absl::ToDoubleSeconds(clock_.Now() - absl::UnixEpoch());
  event.body = std::move(body);
  std::string line = common::FormatTrainerEvent(event);
  line.push_back('\n');
  // One write a line, so that lines of several writers never mix; the loop is for pipes that are
  // full.
  size_t written = 0;
  while (written < line.size()) {
    const ssize_t count = write(fd_, line.data() + written, line.size() - written);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) {
      return absl::UnavailableError(absl::StrCat("cannot write an event to descriptor ", fd_, ": ",
                                                 std::strerror(errno),
                                                 "; is its reader still there?"));
    }
    written += static_cast<size_t>(count);
  }
  return absl::OkStatus();
}

}  // namespace longlora::trainer
