// Which devices this node offers. CPU devices are shares of the machine; CUDA devices are found
// through the driver's own library (NVML), loaded at run time so that the worker runs on nodes
// without a driver.
#ifndef LONGLORA_WORKER_SUPERVISOR_DEVICE_INVENTORY_H_
#define LONGLORA_WORKER_SUPERVISOR_DEVICE_INVENTORY_H_

#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "worker/supervisor/device.h"

namespace longlora::worker {

// `wanted` is "cpu:N" (N from 1 to 1024, each a share of cores and memory) or "cuda" (every GPU).
// INVALID_ARGUMENT for anything else; FAILED_PRECONDITION when the NVIDIA driver is missing, cannot
// be talked to, or has no GPU.
absl::StatusOr<std::vector<Device>> FindDevices(absl::string_view wanted);

}  // namespace longlora::worker

#endif  // LONGLORA_WORKER_SUPERVISOR_DEVICE_INVENTORY_H_
