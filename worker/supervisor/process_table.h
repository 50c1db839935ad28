// Reads the machine's processes from /proc (proc(5)). Processes come and go while it reads: who
// acts on an entry must check its start time again behind a pidfd. Free functions, safe from any
// thread.
#ifndef LONGLORA_WORKER_SUPERVISOR_PROCESS_TABLE_H_
#define LONGLORA_WORKER_SUPERVISOR_PROCESS_TABLE_H_

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace longlora::worker {

struct ProcessEntry {
  pid_t pid = 0;
  pid_t parent = 0;
  pid_t group = 0;
  char state = '?';          // 'Z': ended, not yet waited for
  uint64_t start_ticks = 0;  // clock ticks after boot: with the pid, names a process for good
};

// The process `pid`; nothing when there is none.
std::optional<ProcessEntry> ReadProcess(pid_t pid);

// All of them.
std::vector<ProcessEntry> ListProcesses();

// The value of `name` in the environment that `pid` was executed with; nothing when it has none or
// may not be read.
std::optional<std::string> ReadEnvironment(pid_t pid, absl::string_view name);

// Random id of the machine's present run; empty when the kernel does not tell.
std::string BootId();

}  // namespace longlora::worker

#endif  // LONGLORA_WORKER_SUPERVISOR_PROCESS_TABLE_H_
