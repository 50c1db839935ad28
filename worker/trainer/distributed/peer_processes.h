// Tells which ranks died, so that an error can name them: a broken connection alone does not say
// whose it was. Ranks of one node can look at each other in /proc. Thread-safe: no state.
#ifndef LONGLORA_WORKER_TRAINER_DISTRIBUTED_PEER_PROCESSES_H_
#define LONGLORA_WORKER_TRAINER_DISTRIBUTED_PEER_PROCESSES_H_

#include <string>
#include <vector>

#include "absl/time/time.h"

namespace longlora::trainer {

// This process for others to find: machine, process namespace, process id and start time in one
// line. The start time guards against a process id that was given out again.
std::string DescribeThisProcess();

// Indices of the processes in `descriptions` that are known to have ended, waiting up to `patience`
// for the first (the connections of a killed process break a moment before it is gone). Processes
// of another machine or namespace are never counted.
std::vector<int> FindEndedProcesses(const std::vector<std::string>& descriptions,
                                    absl::Duration patience);

}  // namespace longlora::trainer

#endif  // LONGLORA_WORKER_TRAINER_DISTRIBUTED_PEER_PROCESSES_H_
