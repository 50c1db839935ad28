// Finds a port for the rendezvous of a group's ranks.
#ifndef LONGLORA_WORKER_SUPERVISOR_FREE_PORT_H_
#define LONGLORA_WORKER_SUPERVISOR_FREE_PORT_H_

#include <cstdint>

#include "absl/status/statusor.h"

namespace longlora::worker {

// A TCP port of 127.0.0.1 that nobody listened on a moment ago. Somebody else may take it before
// rank 0 does; the group then fails as a fault of the system and is tried again.
absl::StatusOr<int32_t> FindFreePort();

}  // namespace longlora::worker

#endif  // LONGLORA_WORKER_SUPERVISOR_FREE_PORT_H_
