#include "worker/trainer/kernels/device_backend.h"

#include <dlfcn.h>

#include <array>
#include <filesystem>
#include <fstream>
#include <system_error>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace longlora::trainer {
namespace {

namespace fs = std::filesystem;

class CpuBackend : public DeviceBackend {
 public:
  // oneDNN's condition for its bf16 products on x86: the AVX-512 of Skylake's servers.
  bool HasBf16() const override {
#ifdef __x86_64__
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
#else
    return false;
#endif
  }

  torch::Device device() const override { return torch::kCPU; }

  absl::StatusOr<c10::intrusive_ptr<c10d::Backend>> CreateCommunicator(
      const Rendezvous& rendezvous, const RankEnvironment& environment) override {
    return CreateGlooCommunicator(rendezvous, environment);
  }

  // "VmHWM:   123456 kB" of /proc/self/status.
  int64_t MemoryPeakBytes() const override {
    std::ifstream status("/proc/self/status");
    for (std::string line; std::getline(status, line);) {
      const std::vector<std::string> words =
          absl::StrSplit(line, absl::ByAnyChar(" \t"), absl::SkipEmpty());
      int64_t kibibytes = 0;
      if (words.size() >= 2 && words[0] == "VmHWM:" && absl::SimpleAtoi(words[1], &kibibytes)) {
        return kibibytes * 1024;
      }
    }
    return 0;
  }
};

// The plug-in lies beside the binary, or in lib/ beside the binary's folder.
std::string FindPlugin() {
  constexpr char kName[] = "liblonglora_cuda.so";
  std::error_code error;
  const fs::path folder = fs::read_symlink("/proc/self/exe", error).parent_path();
  for (const fs::path& place : std::array{folder / kName, folder.parent_path() / "lib" / kName}) {
    if (fs::exists(place, error)) return place.string();
  }
  return "";
}

absl::StatusOr<std::unique_ptr<DeviceBackend>> LoadCudaBackend(int local_rank) {
  constexpr char kWayOut[] = "; run the job with resources.device: cpu, or on a machine with a GPU";
  const std::string path = FindPlugin();
  if (path.empty()) {
    return absl::UnavailableError(
        absl::StrCat("device: cuda needs liblonglora_cuda.so beside longlora-trainer or in ../lib, "
                     "and it is not "
                     "there: this is a build without CUDA",
                     kWayOut));
  }
  // Never closed: CUDA's libraries do not survive being unloaded.
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_GLOBAL);
  if (library == nullptr) {
    return absl::UnavailableError(absl::StrCat("cannot load ", path, ": ", dlerror(),
                                               "; are the CUDA libraries installed?", kWayOut));
  }
  const auto create =
      reinterpret_cast<CreateCudaBackendFunction>(dlsym(library, kCreateCudaBackendSymbol));
  if (create == nullptr) {
    return absl::UnavailableError(absl::StrCat(path, " has no ", kCreateCudaBackendSymbol,
                                               ": it is not of this build", kWayOut));
  }
  std::string error;
  std::unique_ptr<DeviceBackend> backend(create(local_rank, &error));
  if (backend == nullptr)
    return absl::UnavailableError(absl::StrCat("device: cuda cannot be used: ", error, kWayOut));
  return backend;
}

}  // namespace

absl::StatusOr<std::unique_ptr<DeviceBackend>> CreateDeviceBackend(
    common::Device device, const RankEnvironment& environment) {
  if (device == common::Device::kCuda) return LoadCudaBackend(environment.local_rank);
  return std::make_unique<CpuBackend>();
}

}  // namespace longlora::trainer
