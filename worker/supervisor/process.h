// A child process of the worker as its supervisor sees it, and who starts it. Interfaces: POSIX in
// posix_process.h. A process is the leader of a session and process group of its own, so that it
// can be ended together with everything it starts. Not thread-safe.
#ifndef LONGLORA_WORKER_SUPERVISOR_PROCESS_H_
#define LONGLORA_WORKER_SUPERVISOR_PROCESS_H_

#include <sys/types.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace longlora::worker {

// The descriptor on which a child finds its events pipe.
inline constexpr int kChildEventsFd = 3;

struct ProcessSpec {
  std::vector<std::string> arguments;    // [0] is the program's path
  std::vector<std::string> environment;  // all of it, as NAME=value
  std::string directory;                 // to work in
};

// How a process ended.
struct ProcessExit {
  int code = 0;    // exit status, when signal is 0
  int signal = 0;  // signal that killed it; 0: it exited
};

class Process {
 public:
  // Kills the group if it still lives, and waits for its leader.
  virtual ~Process() = default;

  // Also the id of its session and process group.
  virtual pid_t pid() const = 0;
  // Lets the program begin: until then the child only waits. NOT_FOUND, PERMISSION_DENIED or
  // UNAVAILABLE when the program cannot be executed.
  virtual absl::Status Start() = 0;
  // Readable once the leader has ended.
  virtual int exit_fd() const = 0;
  // Read ends, non-blocking: what the child writes to kChildEventsFd, and to its output and error.
  virtual int events_fd() const = 0;
  virtual int log_fd() const = 0;
  // Sends `signal` to every process of the group; nothing happens when it is gone.
  virtual void SignalGroup(int signal) = 0;
  // When the leader has ended: kills what is left of its group, and says how the leader ended.
  virtual std::optional<ProcessExit> Reap() = 0;
};

class ProcessLauncher {
 public:
  virtual ~ProcessLauncher() = default;
  // Makes a child that waits for Process::Start. It dies when the worker dies. RESOURCE_EXHAUSTED
  // or UNAVAILABLE when the system refuses. Thread-safe.
  virtual absl::StatusOr<std::unique_ptr<Process>> Launch(const ProcessSpec& spec) = 0;
};

}  // namespace longlora::worker

#endif  // LONGLORA_WORKER_SUPERVISOR_PROCESS_H_
