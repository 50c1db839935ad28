#include "worker/trainer/events/reader_watch.h"

#include <poll.h>
#include <unistd.h>

#include <thread>

#include "common/trainer_protocol/exit_code.h"

namespace longlora::trainer {

void ExitWhenReaderIsGone(int fd) {
  std::thread([fd] {
    // With no events asked for, poll() reports errors and hang-ups only.
    struct pollfd watched = {.fd = fd, .events = 0, .revents = 0};
    while (poll(&watched, 1, /*timeout=*/-1) < 0) {
    }
    constexpr char kMessage[] = "longlora-trainer: nobody reads the events any more; exiting\n";
    [[maybe_unused]] const ssize_t ignored = write(STDERR_FILENO, kMessage, sizeof(kMessage) - 1);
    _exit(static_cast<int>(common::ExitCode::kResource));
  }).detach();
}

}  // namespace longlora::trainer
