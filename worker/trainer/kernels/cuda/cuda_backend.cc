// The CUDA side of DeviceBackend: NCCL between the ranks, device memory figures. Built into
// liblonglora_cuda.so, which also registers our kernels.
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAFunctions.h>
#include <cuda_runtime_api.h>

#include <exception>
#include <memory>
#include <string>
#include <torch/csrc/distributed/c10d/ProcessGroupNCCL.hpp>

#include "absl/strings/str_cat.h"
#include "worker/trainer/kernels/device_backend.h"

namespace longlora::trainer {
namespace {

class CudaBackend : public DeviceBackend {
 public:
  explicit CudaBackend(int index) : device_(torch::kCUDA, static_cast<c10::DeviceIndex>(index)) {}

  // Since compute capability 8.0, the oldest this is compiled for.
  bool HasBf16() const override { return true; }

  torch::Device device() const override { return device_; }

  absl::StatusOr<c10::intrusive_ptr<c10d::Backend>> CreateCommunicator(
      const Rendezvous& rendezvous, const RankEnvironment& environment) override {
    try {
      auto options = c10d::ProcessGroupNCCL::Options::create();
      options->timeout = kCollectiveTimeout;
      auto communicator = c10::make_intrusive<c10d::ProcessGroupNCCL>(
          rendezvous.store, environment.rank, environment.world_size, std::move(options));
      // Connects now, so that a broken link is found before the model is loaded.
      communicator->eagerConnectSingleDevice(device_);
      return c10::intrusive_ptr<c10d::Backend>(std::move(communicator));
    } catch (const std::exception& error) {
      const std::string what = error.what();
      return absl::UnavailableError(absl::StrCat(
          "rank ", environment.rank,
          " cannot connect to its peers over NCCL: ", what.substr(0, what.find('\n'))));
    }
  }

  int64_t MemoryPeakBytes() const override {
    using c10::CachingAllocator::StatType;
    const auto stats = c10::cuda::CUDACachingAllocator::getDeviceStats(device_.index());
    return stats.allocated_bytes[static_cast<size_t>(StatType::AGGREGATE)].peak;
  }

 private:
  const torch::Device device_;
};

// Why device `index` cannot be used; empty when it can.
std::string FindObstacle(int index) {
  int count = 0;
  const cudaError_t error = cudaGetDeviceCount(&count);
  if (error == cudaErrorInsufficientDriver) {
    int driver = 0;
    cudaDriverGetVersion(&driver);
    return driver == 0 ? "there is no NVIDIA driver on this machine"
                       : absl::StrCat("the NVIDIA driver is too old: it serves CUDA ",
                                      driver / 1000, ".", driver % 1000 / 10, ", this build needs ",
                                      CUDART_VERSION / 1000, ".", CUDART_VERSION % 1000 / 10);
  }
  if (error == cudaErrorNoDevice || (error == cudaSuccess && count == 0)) {
    return "there is an NVIDIA driver and no GPU it shows (see CUDA_VISIBLE_DEVICES)";
  }
  if (error != cudaSuccess) return cudaGetErrorString(error);
  if (index >= count) {
    return absl::StrCat("rank uses GPU ", index, " of its node (LOCAL_RANK), and there are ",
                        count);
  }
  return "";
}

}  // namespace

extern "C" __attribute__((visibility("default"))) DeviceBackend* LongloraCreateCudaBackend(
    int local_rank, std::string* error) {
  *error = FindObstacle(local_rank);
  if (!error->empty()) return nullptr;
  try {
    c10::cuda::set_device(static_cast<c10::DeviceIndex>(local_rank));
    return new CudaBackend(local_rank);
  } catch (const std::exception& failure) {
    *error = failure.what();
    return nullptr;
  }
}

}  // namespace longlora::trainer
