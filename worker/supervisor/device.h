// What one rank computes on. Plain data.
#ifndef LONGLORA_WORKER_SUPERVISOR_DEVICE_H_
#define LONGLORA_WORKER_SUPERVISOR_DEVICE_H_

#include <cstdint>
#include <string>

namespace longlora::worker {

struct Device {
  std::string id;            // within the worker: "cpu:0", "cuda:0"
  std::string kind;          // "cpu" or "cuda"
  std::string model;         // "NVIDIA H100 80GB HBM3"
  int64_t memory_bytes = 0;  // 0: unknown
  std::string uuid;          // of a CUDA device, as CUDA_VISIBLE_DEVICES takes it; else empty
  int32_t threads = 0;       // a CPU device's share of the machine's cores; else 0
};

}  // namespace longlora::worker

#endif  // LONGLORA_WORKER_SUPERVISOR_DEVICE_H_
