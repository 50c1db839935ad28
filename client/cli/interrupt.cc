#include "client/cli/interrupt.h"

#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdlib>

namespace longlora::client {
namespace {

// A signal handler can reach nothing but these.
std::atomic<int> g_signal{0};
std::atomic<int> g_wake_fd{-1};

void OnSignal(int signal) {
  const int saved_errno = errno;
  g_signal = signal;
  const char byte = 1;
  // A full pipe already wakes the reader.
  [[maybe_unused]] const ssize_t written = write(g_wake_fd, &byte, 1);
  errno = saved_errno;
}

}  // namespace

Interrupt::Interrupt(Cancellation& cancellation) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) std::abort();
  read_end_ = common::UniqueFd(ends[0]);
  write_end_ = common::UniqueFd(ends[1]);
  g_signal = 0;
  g_wake_fd = write_end_.get();
  struct sigaction action{};
  action.sa_handler = OnSignal;
  sigemptyset(&action.sa_mask);
  action.sa_flags = static_cast<int>(SA_RESETHAND) | SA_RESTART;
  sigaction(SIGINT, &action, &previous_int_);
  sigaction(SIGTERM, &action, &previous_term_);
  thread_ = std::thread([this, &cancellation] {
    char byte = 0;
    while (read(read_end_.get(), &byte, 1) < 0 && errno == EINTR) {
    }
    if (byte != 0) cancellation.Cancel();
  });
}

Interrupt::~Interrupt() {
  sigaction(SIGINT, &previous_int_, nullptr);
  sigaction(SIGTERM, &previous_term_, nullptr);
  g_wake_fd = -1;
  write_end_.Reset();  // ends the thread's read
  thread_.join();
}

int Interrupt::signal() { return g_signal; }

}  // namespace longlora::client
