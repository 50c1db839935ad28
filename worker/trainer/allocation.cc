#include "worker/trainer/allocation.h"

#include <c10/core/CPUAllocator.h>
#include <c10/core/alignment.h>
#include <c10/core/impl/alloc_cpu.h>
#include <malloc.h>

#include <algorithm>
#include <cstring>
#include <iterator>
#include <new>

namespace longlora::trainer {

// In front of every tensor's data, so that an address alone is enough to free it: oneDNN's kernels
// keep no more. As long as an alignment, which is thus the data's too.
struct alignas(c10::gAlignment) TensorMemory::Header {
  TensorMemory* owner = nullptr;  // null: malloc's
  size_t bytes = 0;               // of the data
};

TensorMemory::~TensorMemory() {
  for (const Block& block : kept_) c10::free_cpu(block.header);
}

c10::DataPtr TensorMemory::allocate(size_t bytes) {
  const c10::Device cpu(c10::DeviceType::CPU);
  if (bytes == 0) return {nullptr, nullptr, &TensorMemory::Free, cpu};
  const bool is_kept = bytes >= kSmallestKept;
  void* memory = is_kept ? Take(bytes) : nullptr;
  if (memory == nullptr) {
    try {
      memory = c10::alloc_cpu(sizeof(Header) + bytes);
    } catch (...) {
      const absl::MutexLock lock(&mutex_);
      if (is_kept) usage_.live -= bytes;
      throw;
    }
  }
  Header* const header = new (memory) Header{is_kept ? this : nullptr, bytes};
  void* const data = header + 1;
  return {data, data, &TensorMemory::Free, cpu};
}

void* TensorMemory::Take(size_t bytes) {
  void* header = nullptr;
  std::vector<Block> given_back;
  {
    const absl::MutexLock lock(&mutex_);
    usage_.live += bytes;
    // The one freed last is the likeliest to be in the processor's caches.
    const auto fitting = std::find_if(kept_.rbegin(), kept_.rend(),
                                      [&](const Block& block) { return block.bytes == bytes; });
    if (fitting != kept_.rend()) {
      header = fitting->header;
      usage_.kept -= bytes;
      kept_.erase(std::next(fitting).base());
    }
    const size_t most = std::max(usage_.peak, usage_.live);
    auto oldest = kept_.begin();
    for (; usage_.live + usage_.kept > most; ++oldest) usage_.kept -= oldest->bytes;
    given_back.assign(kept_.begin(), oldest);
    kept_.erase(kept_.begin(), oldest);
  }
  for (const Block& block : given_back) c10::free_cpu(block.header);
  return header;
}

void TensorMemory::Free(void* data) {
  if (data == nullptr) return;
  Header* const header = static_cast<Header*>(data) - 1;
  if (header->owner == nullptr) return c10::free_cpu(header);
  TensorMemory& memory = *header->owner;
  const absl::MutexLock lock(&memory.mutex_);
  // Here and not in Take, which the system may yet refuse.
  memory.usage_.peak = std::max(memory.usage_.peak, memory.usage_.live);
  memory.usage_.live -= header->bytes;
  if (!memory.keeping_) return c10::free_cpu(header);
  memory.usage_.kept += header->bytes;
  memory.kept_.push_back({header, header->bytes});
}

void TensorMemory::SetKeeping(bool keeping) {
  std::vector<Block> given_back;
  {
    const absl::MutexLock lock(&mutex_);
    keeping_ = keeping;
    if (keeping) return;
    given_back.swap(kept_);
    usage_.kept = 0;
  }
  for (const Block& block : given_back) c10::free_cpu(block.header);
}

c10::DeleterFnPtr TensorMemory::raw_deleter() const { return &TensorMemory::Free; }

void TensorMemory::copy_data(void* to, const void* from, size_t bytes) const {
  std::memcpy(to, from, bytes);
}

TensorMemory::Usage TensorMemory::usage() const {
  const absl::MutexLock lock(&mutex_);
  return {usage_.live, usage_.kept, std::max(usage_.peak, usage_.live)};
}

namespace {

TensorMemory& SharedTensorMemory() {
  // Never destroyed: tensors of static lifetime may outlive everything.
  static TensorMemory& memory = *new TensorMemory(/*keeping=*/false);
  return memory;
}

}  // namespace

void UseTensorMemory() {
  // So that what is given back leaves the process, and holes in the heap stay small.
  constexpr int kHeapEndBytes = 8 << 20;
  mallopt(M_MMAP_THRESHOLD, TensorMemory::kSmallestKept);
  mallopt(M_TRIM_THRESHOLD, kHeapEndBytes);
  constexpr uint8_t kAboveLibTorchsOwn = 1;
  c10::SetCPUAllocator(&SharedTensorMemory(), kAboveLibTorchsOwn);
}

void KeepFreedTensors(bool keeping) { SharedTensorMemory().SetKeeping(keeping); }

}  // namespace longlora::trainer
