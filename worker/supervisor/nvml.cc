#include "worker/supervisor/nvml.h"

#include <dlfcn.h>

#include <memory>
#include <string>

#include "absl/strings/str_cat.h"

namespace longlora::worker {
namespace {

constexpr char kLibrary[] = "libnvidia-ml.so.1";

// The part of NVML's stable C interface that is needed (nvml.h of the driver, version 2 entry
// points).
struct NvmlMemory {
  unsigned long long total;
  unsigned long long free;
  unsigned long long used;
};
using NvmlDevice = void*;

template <typename Function>
Function Lookup(void* library, const char* name) {
  return reinterpret_cast<Function>(dlsym(library, name));
}

absl::Status Unusable(absl::string_view problem) {
  return absl::FailedPreconditionError(absl::StrCat(
      "--devices cuda: ", problem,
      ". Check that the NVIDIA driver is installed and that nvidia-smi works here (in a "
      "container: that it was started with access to the GPUs), or use --devices cpu:N"));
}

class Nvml {
 public:
  static absl::StatusOr<std::unique_ptr<Nvml>> Open() {
    void* library = dlopen(kLibrary, RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr)
      return Unusable(absl::StrCat("the driver's library cannot be loaded: ", dlerror()));
    std::unique_ptr<Nvml> nvml(new Nvml(library));
    if (nvml->init_ == nullptr || nvml->error_string_ == nullptr || nvml->count_ == nullptr ||
        nvml->handle_ == nullptr || nvml->name_ == nullptr || nvml->uuid_ == nullptr ||
        nvml->memory_ == nullptr) {
      return Unusable(absl::StrCat(kLibrary, " lacks a function: it is too old or not NVIDIA's"));
    }
    if (const int error = nvml->init_(); error != 0) {
      return Unusable(absl::StrCat("the driver does not answer: ", nvml->error_string_(error)));
    }
    return nvml;
  }

  absl::StatusOr<std::vector<Device>> Devices() {
    unsigned int count = 0;
    if (const int error = count_(&count); error != 0) return Unusable(error_string_(error));
    if (count == 0) return Unusable("the driver shows no GPU");
    std::vector<Device> devices;
    for (unsigned int i = 0; i < count; ++i) {
      NvmlDevice handle = nullptr;
      char name[96] = "";  // NVML_DEVICE_NAME_V2_BUFFER_SIZE
      char uuid[96] = "";  // NVML_DEVICE_UUID_V2_BUFFER_SIZE
      NvmlMemory memory = {};
      int error = handle_(i, &handle);
      if (error == 0) error = name_(handle, name, sizeof(name));
      if (error == 0) error = uuid_(handle, uuid, sizeof(uuid));
      if (error == 0) error = memory_(handle, &memory);
      if (error != 0) return Unusable(absl::StrCat("GPU ", i, ": ", error_string_(error)));
      devices.push_back({.id = absl::StrCat("cuda:", i),
                         .kind = "cuda",
                         .model = name,
                         .memory_bytes = static_cast<int64_t>(memory.total),
                         .uuid = uuid,
                         .threads = 0});
    }
    return devices;
  }

 private:
  explicit Nvml(void* library)
      : init_(Lookup<int (*)()>(library, "nvmlInit_v2")),
        error_string_(Lookup<const char* (*)(int)>(library, "nvmlErrorString")),
        count_(Lookup<int (*)(unsigned int*)>(library, "nvmlDeviceGetCount_v2")),
        handle_(
            Lookup<int (*)(unsigned int, NvmlDevice*)>(library, "nvmlDeviceGetHandleByIndex_v2")),
        name_(Lookup<int (*)(NvmlDevice, char*, unsigned int)>(library, "nvmlDeviceGetName")),
        uuid_(Lookup<int (*)(NvmlDevice, char*, unsigned int)>(library, "nvmlDeviceGetUUID")),
        memory_(Lookup<int (*)(NvmlDevice, NvmlMemory*)>(library, "nvmlDeviceGetMemoryInfo")) {}

  int (*const init_)();
  const char* (*const error_string_)(int);
  int (*const count_)(unsigned int*);
  int (*const handle_)(unsigned int, NvmlDevice*);
  int (*const name_)(NvmlDevice, char*, unsigned int);
  int (*const uuid_)(NvmlDevice, char*, unsigned int);
  int (*const memory_)(NvmlDevice, NvmlMemory*);
};

}  // namespace

absl::StatusOr<std::vector<Device>> FindCudaDevices() {
  auto nvml = Nvml::Open();
  if (!nvml.ok()) return nvml.status();
  return (*nvml)->Devices();
}

}  // namespace longlora::worker
