// NVIDIA's management library, opened with dlopen. Used by device_inventory only.
#ifndef LONGLORA_WORKER_SUPERVISOR_NVML_H_
#define LONGLORA_WORKER_SUPERVISOR_NVML_H_

#include <vector>

#include "absl/status/statusor.h"
#include "worker/supervisor/device.h"

namespace longlora::worker {

// Every GPU the driver shows, in its order. FAILED_PRECONDITION with what is missing otherwise.
absl::StatusOr<std::vector<Device>> FindCudaDevices();

}  // namespace longlora::worker

#endif  // LONGLORA_WORKER_SUPERVISOR_NVML_H_
