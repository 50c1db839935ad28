#include "worker/trainer/signal_requests.h"

#include <signal.h>

#include <atomic>

namespace longlora::trainer {
namespace {

// Lock-free atomics may be written from a signal handler.
std::atomic<bool> stop_requested{false};
std::atomic<bool> checkpoint_requested{false};
static_assert(std::atomic<bool>::is_always_lock_free);

void Install(int signal_number, void (*handler)(int), int flags) {
  struct sigaction action = {};
  action.sa_handler = handler;
  action.sa_flags = flags;
  sigemptyset(&action.sa_mask);
  sigaction(signal_number, &action, nullptr);
}

}  // namespace

void InstallSignalHandlers() {
  const auto stop = [](int) { stop_requested = true; };
  Install(SIGTERM, stop, SA_RESTART);
  Install(SIGINT, stop, SA_RESTART | SA_RESETHAND);
  Install(SIGUSR1, [](int) { checkpoint_requested = true; }, SA_RESTART);
  Install(SIGPIPE, SIG_IGN, 0);
}

bool StopRequested() { return stop_requested; }

bool TakeCheckpointRequest() { return checkpoint_requested.exchange(false); }

}  // namespace longlora::trainer
