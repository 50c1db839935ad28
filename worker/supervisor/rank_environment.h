// The environment of a rank: torchrun's variables, the devices it sees, and the attempt's mark.
// Pure.
#ifndef LONGLORA_WORKER_SUPERVISOR_RANK_ENVIRONMENT_H_
#define LONGLORA_WORKER_SUPERVISOR_RANK_ENVIRONMENT_H_

#include <cstdint>
#include <string>
#include <vector>

#include "worker/supervisor/device.h"

namespace longlora::worker {

struct RankPlace {
  int32_t rank = 0;
  std::vector<Device> devices;  // of the group, in rank order
  int32_t master_port = 0;      // where rank 0 listens on loopback
  std::string mark;             // value of kAttemptVariable
};

// `inherited` (NAME=value each) with the variables above replaced. LOCAL_RANK picks among the
// devices of CUDA_VISIBLE_DEVICES, which names all of the group's, as torchrun has it.
std::vector<std::string> RankEnvironment(const std::vector<std::string>& inherited,
                                         const RankPlace& place);

}  // namespace longlora::worker

#endif  // LONGLORA_WORKER_SUPERVISOR_RANK_ENVIRONMENT_H_
