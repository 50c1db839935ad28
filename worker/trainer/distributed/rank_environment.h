// Which rank of how many this process is: the variables torchrun and our supervisor set.
#ifndef LONGLORA_WORKER_TRAINER_DISTRIBUTED_RANK_ENVIRONMENT_H_
#define LONGLORA_WORKER_TRAINER_DISTRIBUTED_RANK_ENVIRONMENT_H_

#include <cstdint>
#include <functional>
#include <string>

#include "absl/status/statusor.h"

namespace longlora::trainer {

struct RankEnvironment {
  int rank = 0;                       // RANK
  int world_size = 1;                 // WORLD_SIZE
  int local_rank = 0;                 // LOCAL_RANK: the device's index on this node
  int local_world_size = 1;           // LOCAL_WORLD_SIZE; WORLD_SIZE when it is not set
  std::string master_address;         // MASTER_ADDR
  uint16_t master_port = 0;           // MASTER_PORT
  bool launcher_hosts_store = false;  // TORCHELASTIC_USE_AGENT_STORE: torchrun listens, not rank 0
};

// Reads the variables through `get` (getenv outside of tests). None set: one rank. INVALID_ARGUMENT
// names a variable that is missing beside the others, is no number or is out of range.
absl::StatusOr<RankEnvironment> ReadRankEnvironment(
    const std::function<const char*(const char*)>& get);

}  // namespace longlora::trainer

#endif  // LONGLORA_WORKER_TRAINER_DISTRIBUTED_RANK_ENVIRONMENT_H_
