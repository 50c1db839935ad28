// How the ranks find each other: a key-value store that rank 0 (or torchrun) hosts at MASTER_ADDR.
#ifndef LONGLORA_WORKER_TRAINER_DISTRIBUTED_RENDEZVOUS_H_
#define LONGLORA_WORKER_TRAINER_DISTRIBUTED_RENDEZVOUS_H_

#include <chrono>
#include <string>
#include <torch/csrc/distributed/c10d/Backend.hpp>
#include <torch/csrc/distributed/c10d/Store.hpp>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/trainer/distributed/rank_environment.h"

namespace longlora::trainer {

// How long ranks wait for each other to start. They are started together and meet before anything
// is loaded.
inline constexpr std::chrono::minutes kRendezvousTimeout{2};

// How long a rank waits in a collective call for a peer that is alive: longer than rank 0 takes to
// write a checkpoint. A dead peer is noticed at once.
inline constexpr std::chrono::minutes kCollectiveTimeout{10};

struct Rendezvous {
  c10::intrusive_ptr<c10d::Store> store;
  std::vector<std::string> processes;  // DescribeThisProcess() of every rank
};

// Returns when every rank has arrived. UNAVAILABLE names the address when they do not meet in time
// or rank 0 cannot listen there.
absl::StatusOr<Rendezvous> MeetPeers(const RankEnvironment& environment);

// LibTorch's Gloo over TCP, for tensors in main memory; on the loopback interface when the master
// is there.
absl::StatusOr<c10::intrusive_ptr<c10d::Backend>> CreateGlooCommunicator(
    const Rendezvous& rendezvous, const RankEnvironment& environment);

}  // namespace longlora::trainer

#endif  // LONGLORA_WORKER_TRAINER_DISTRIBUTED_RENDEZVOUS_H_
