// Turns the first SIGINT or SIGTERM into a Cancellation while it lives, so that a command which
// only watches can say goodbye. The second signal ends the process as usual. At most one lives at a
// time.
#ifndef LONGLORA_CLIENT_CLI_INTERRUPT_H_
#define LONGLORA_CLIENT_CLI_INTERRUPT_H_

#include <csignal>
#include <thread>

#include "client/cancellation.h"
#include "common/io/unique_fd.h"

namespace longlora::client {

class Interrupt {
 public:
  // `cancellation` outlives it.
  explicit Interrupt(Cancellation& cancellation);
  ~Interrupt();
  Interrupt(const Interrupt&) = delete;
  Interrupt& operator=(const Interrupt&) = delete;

  // The signal that came; 0: none.
  static int signal();

 private:
  common::UniqueFd read_end_;
  common::UniqueFd write_end_;
  struct sigaction previous_int_{};
  struct sigaction previous_term_{};
  std::thread thread_;
};

}  // namespace longlora::client

#endif  // LONGLORA_CLIENT_CLI_INTERRUPT_H_
