#include "worker/supervisor/device_inventory.h"

#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <thread>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "worker/supervisor/nvml.h"

namespace longlora::worker {
namespace {

constexpr int32_t kCpuDevicesMax = 1024;

std::string CpuModel() {
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);) {
    if (absl::StartsWith(line, "model name")) {
      return std::string(absl::StripAsciiWhitespace(line.substr(line.find(':') + 1)));
    }
  }
  return "CPU";
}

int64_t MachineMemoryBytes() {
  return static_cast<int64_t>(sysconf(_SC_PHYS_PAGES)) *
         static_cast<int64_t>(sysconf(_SC_PAGE_SIZE));
}

std::vector<Device> CpuDevices(int32_t count) {
  const auto cores = static_cast<int32_t>(std::thread::hardware_concurrency());
  std::vector<Device> devices;
  for (int32_t i = 0; i < count; ++i) {
    devices.push_back({.id = absl::StrCat("cpu:", i),
                       .kind = "cpu",
                       .model = CpuModel(),
                       .memory_bytes = MachineMemoryBytes() / count,
                       .uuid = "",
                       .threads = std::max(1, cores / count)});
  }
  return devices;
}

}  // namespace

absl::StatusOr<std::vector<Device>> FindDevices(absl::string_view wanted) {
  if (wanted == "cuda") return FindCudaDevices();
  int32_t count = 0;
  if (absl::ConsumePrefix(&wanted, "cpu:") && absl::SimpleAtoi(wanted, &count) && count >= 1 &&
      count <= kCpuDevicesMax) {
    return CpuDevices(count);
  }
  return absl::InvalidArgumentError(
      absl::StrCat("--devices: expected \"cuda\" or \"cpu:N\" with N from 1 to ", kCpuDevicesMax));
}

}  // namespace longlora::worker
