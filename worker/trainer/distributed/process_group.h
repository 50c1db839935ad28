// The ranks of a job, as the training loop sees them: sums, broadcasts, barriers. Every rank makes
// the same calls in the same order. Errors are final: the group cannot be used afterwards and the
// rank ends. Not thread-safe.
#ifndef LONGLORA_WORKER_TRAINER_DISTRIBUTED_PROCESS_GROUP_H_
#define LONGLORA_WORKER_TRAINER_DISTRIBUTED_PROCESS_GROUP_H_

#include <vector>

#include "absl/status/status.h"
#include "worker/trainer/torch.h"

namespace longlora::trainer {

class ProcessGroup {
 public:
  virtual ~ProcessGroup() = default;

  virtual int rank() const = 0;
  virtual int world_size() const = 0;

  // Replaces each tensor by its sum over the ranks. Small ones travel together. The result is the
  // same on every rank, bit for bit. UNAVAILABLE when a peer is gone or silent, naming it if known.
  virtual absl::Status AllReduceSum(const std::vector<torch::Tensor>& tensors) = 0;

  // Replaces each tensor by rank `root`'s.
  virtual absl::Status Broadcast(const std::vector<torch::Tensor>& tensors, int root) = 0;

  // Returns when all ranks have called it.
  virtual absl::Status Barrier() = 0;
};

// A job of one rank: nothing to exchange.
class SingleProcessGroup : public ProcessGroup {
 public:
  int rank() const override { return 0; }
  int world_size() const override { return 1; }
  absl::Status AllReduceSum(const std::vector<torch::Tensor>&) override { return absl::OkStatus(); }
  absl::Status Broadcast(const std::vector<torch::Tensor>&, int) override {
    return absl::OkStatus();
  }
  absl::Status Barrier() override { return absl::OkStatus(); }
};

}  // namespace longlora::trainer

#endif  // LONGLORA_WORKER_TRAINER_DISTRIBUTED_PROCESS_GROUP_H_
