// A process group over LibTorch's c10d: Gloo on CPU, NCCL on CUDA; the code here is the same.
#ifndef LONGLORA_WORKER_TRAINER_DISTRIBUTED_C10D_PROCESS_GROUP_H_
#define LONGLORA_WORKER_TRAINER_DISTRIBUTED_C10D_PROCESS_GROUP_H_

#include <exception>
#include <string>
#include <torch/csrc/distributed/c10d/Backend.hpp>
#include <vector>

#include "worker/trainer/distributed/process_group.h"
#include "worker/trainer/distributed/rendezvous.h"
#include "worker/trainer/torch.h"

namespace longlora::trainer {

class C10dProcessGroup : public ProcessGroup {
 public:
  // `communicator` was made from `rendezvous`; tensors handed in later lie on `device`.
  C10dProcessGroup(c10::intrusive_ptr<c10d::Backend> communicator, Rendezvous rendezvous,
                   torch::Device device);

  int rank() const override { return communicator_->getRank(); }
  int world_size() const override { return communicator_->getSize(); }
  absl::Status AllReduceSum(const std::vector<torch::Tensor>& tensors) override;
  absl::Status Broadcast(const std::vector<torch::Tensor>& tensors, int root) override;
  absl::Status Barrier() override;

 private:
  void AllReduceOne(torch::Tensor tensor);
  void AllReduceTogether(const std::vector<torch::Tensor>& bucket);
  // What went wrong in `operation`, with the ranks that died.
  absl::Status PeerError(const char* operation, const std::exception& error) const;

  c10::intrusive_ptr<c10d::Backend> communicator_;
  Rendezvous rendezvous_;
  torch::Device device_;
};

}  // namespace longlora::trainer

#endif  // LONGLORA_WORKER_TRAINER_DISTRIBUTED_C10D_PROCESS_GROUP_H_
