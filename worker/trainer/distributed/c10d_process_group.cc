#include "worker/trainer/distributed/c10d_process_group.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "worker/trainer/distributed/peer_processes.h"

namespace longlora::trainer {
namespace {

// Tensors are gathered into messages of up to this many bytes (DistributedDataParallel's default);
// a larger one travels alone and is not copied.
constexpr int64_t kBucketBytes = int64_t{25} << 20;

int64_t Bytes(const torch::Tensor& tensor) {
  return tensor.numel() * static_cast<int64_t>(tensor.element_size());
}

}  // namespace

C10dProcessGroup::C10dProcessGroup(c10::intrusive_ptr<c10d::Backend> communicator,
                                   Rendezvous rendezvous, torch::Device device)
    : communicator_(std::move(communicator)), rendezvous_(std::move(rendezvous)), device_(device) {}

absl::Status C10dProcessGroup::AllReduceSum(const std::vector<torch::Tensor>& tensors) {
  torch::NoGradGuard no_grad;
  try {
    std::vector<torch::Tensor> bucket;
    int64_t bytes = 0;
    for (const torch::Tensor& tensor : tensors) {
      const bool fits = bucket.empty() || (bytes + Bytes(tensor) <= kBucketBytes &&
                                           bucket.front().dtype() == tensor.dtype());
      if (!fits) {
        AllReduceTogether(bucket);
        bucket.clear();
        bytes = 0;
      }
      bucket.push_back(tensor);
      bytes += Bytes(tensor);
    }
    if (!bucket.empty()) AllReduceTogether(bucket);
    return absl::OkStatus();
  } catch (const std::exception& error) {
    return PeerError("all-reduce", error);
  }
}

void C10dProcessGroup::AllReduceTogether(const std::vector<torch::Tensor>& bucket) {
  if (bucket.size() == 1 && bucket.front().is_contiguous()) return AllReduceOne(bucket.front());
  std::vector<torch::Tensor> flat;
  flat.reserve(bucket.size());
  for (const torch::Tensor& tensor : bucket) flat.push_back(tensor.reshape({-1}));
  const torch::Tensor message = torch::cat(flat);
  AllReduceOne(message);
  int64_t offset = 0;
  for (const torch::Tensor& tensor : bucket) {
    tensor.copy_(message.narrow(0, offset, tensor.numel()).view(tensor.sizes()));
    offset += tensor.numel();
  }
}

void C10dProcessGroup::AllReduceOne(torch::Tensor tensor) {
  std::vector<torch::Tensor> message = {std::move(tensor)};
  communicator_->allreduce(message)->wait();
}

absl::Status C10dProcessGroup::Broadcast(const std::vector<torch::Tensor>& tensors, int root) {
  torch::NoGradGuard no_grad;
  try {
    c10d::BroadcastOptions options;
    options.rootRank = root;
    for (const torch::Tensor& tensor : tensors) {
      std::vector<torch::Tensor> message = {tensor.detach().contiguous()};
      communicator_->broadcast(message, options)->wait();
      if (!tensor.is_contiguous()) tensor.detach().copy_(message.front());
    }
    return absl::OkStatus();
  } catch (const std::exception& error) {
    return PeerError("broadcast", error);
  }
}

absl::Status C10dProcessGroup::Barrier() {
  try {
    const torch::Tensor one = torch::ones({1}, torch::device(device_).dtype(torch::kInt64));
    AllReduceOne(one);
    // Reading the number waits for the device too, which NCCL's own wait() does not.
    const auto arrived = one.item<int64_t>();
    TORCH_CHECK(arrived == world_size(), arrived, " of ", world_size(), " ranks arrived");
    return absl::OkStatus();
  } catch (const std::exception& error) {
    return PeerError("barrier", error);
  }
}

absl::Status C10dProcessGroup::PeerError(const char* operation, const std::exception& error) const {
  const std::vector<int> ended = FindEndedProcesses(rendezvous_.processes, absl::Seconds(1));
  const std::string who = ended.empty()
                              ? "a peer of rank " + std::to_string(rank()) + " is lost"
                              : absl::StrCat("rank ", absl::StrJoin(ended, ", "), " is lost");
  const std::string what = error.what();
  return absl::UnavailableError(absl::StrCat(who, ": ", operation, " failed on rank ", rank(),
                                             " of ", world_size(), ": ",
                                             what.substr(0, what.find('\n'))));
}

}  // namespace longlora::trainer
