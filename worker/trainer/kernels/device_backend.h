// What differs between CPU and CUDA for the training loop: where tensors lie, how ranks talk, how
// much memory was used. The CPU's is in the binary; CUDA's is in liblonglora_cuda.so, which is
// opened only when a job asks for it, so that one binary serves machines with and without a GPU.
#ifndef LONGLORA_WORKER_TRAINER_KERNELS_DEVICE_BACKEND_H_
#define LONGLORA_WORKER_TRAINER_KERNELS_DEVICE_BACKEND_H_

#include <cstdint>
#include <memory>
#include <string>
#include <torch/csrc/distributed/c10d/Backend.hpp>

#include "absl/status/statusor.h"
#include "common/trainer_protocol/train_spec.h"
#include "worker/trainer/distributed/rank_environment.h"
#include "worker/trainer/distributed/rendezvous.h"
#include "worker/trainer/torch.h"

namespace longlora::trainer {

class DeviceBackend {
 public:
  virtual ~DeviceBackend() = default;

  // Whether it multiplies bf16 matrices in its own instructions. Without them LibTorch does it
  // element by element, many times slower than in fp32.
  virtual bool HasBf16() const = 0;

  // Where model and batches live.
  virtual torch::Device device() const = 0;

  // What the ranks of a job exchange tensors of this device through. UNAVAILABLE when they cannot
  // connect.
  virtual absl::StatusOr<c10::intrusive_ptr<c10d::Backend>> CreateCommunicator(
      const Rendezvous& rendezvous, const RankEnvironment& environment) = 0;

  // Most bytes in use so far: resident set of the process on CPU, allocated tensors on CUDA.
  virtual int64_t MemoryPeakBytes() const = 0;
};

// The backend `device` asks for; CUDA takes the device LOCAL_RANK. UNAVAILABLE, in plain words,
// when the plug-in, a driver or the device is missing.
absl::StatusOr<std::unique_ptr<DeviceBackend>> CreateDeviceBackend(
    common::Device device, const RankEnvironment& environment);

// What liblonglora_cuda.so exports under kCreateCudaBackendSymbol. Returns null and an explanation
// in `error` when CUDA cannot be used. The caller owns the result; the library stays loaded.
using CreateCudaBackendFunction = DeviceBackend* (*)(int local_rank, std::string* error);
inline constexpr char kCreateCudaBackendSymbol[] = "LongloraCreateCudaBackend";

}  // namespace longlora::trainer

#endif  // LONGLORA_WORKER_TRAINER_KERNELS_DEVICE_BACKEND_H_
