// Kills processes that belong to the worker wherever they are: those whose environment carries a
// mark of ours (also grandchildren that made a session of their own), and those in a process
// record. A number that the system gave to a stranger in the meantime is never hit: each kill goes
// through a pidfd whose start time was checked. Used at start-up for a former life's trainers, and
// at the end of every rank group.
#ifndef LONGLORA_WORKER_SUPERVISOR_PROCESS_SWEEP_H_
#define LONGLORA_WORKER_SUPERVISOR_PROCESS_SWEEP_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "worker/supervisor/process_record.h"

namespace longlora::worker {

// Environment variable that every process of an attempt inherits.
inline constexpr absl::string_view kAttemptVariable = "LONGLORA_ATTEMPT";

struct SweepTarget {
  std::string mark_prefix;             // of the value of kAttemptVariable; empty: none
  std::vector<ProcessRecord> records;  // those of another boot are ignored
};

// Kills with SIGKILL until none is left; returns how many were killed. DEADLINE_EXCEEDED, naming
// the processes, when some are still there after `timeout`: the kernel holds them.
absl::StatusOr<int> SweepProcesses(const SweepTarget& target, absl::Duration timeout);

}  // namespace longlora::worker

#endif  // LONGLORA_WORKER_SUPERVISOR_PROCESS_SWEEP_H_
