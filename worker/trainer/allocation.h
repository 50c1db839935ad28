// How the trainer's memory is handed out: large tensors on the CPU are mappings of their own, kept
// for the next tensor of their size as long as that adds nothing to the peak.
#ifndef LONGLORA_WORKER_TRAINER_ALLOCATION_H_
#define LONGLORA_WORKER_TRAINER_ALLOCATION_H_

#include <cstddef>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "worker/trainer/torch.h"

namespace longlora::trainer {

// LibTorch's allocator for the CPU. Left to malloc, freed tensors of up to 32 MB stay in the heap
// and leave holes that the next ones do not fit: a step took up to a fifth more than its tensors,
// the second more than the first. Giving every tensor back at once costs that fifth in time
// instead, for fresh pages. A step asks for the same sizes as the one before, so this one keeps
// what is freed, and gives back the longest unused of it before what it holds would pass the most
// that ever lived at one time. The peak is thus that of the tensors alone, which common/memory
// predicts. Thread-safe.
class TensorMemory : public c10::Allocator {
 public:
  // Smaller tensors are malloc's.
  static constexpr size_t kSmallestKept = size_t{1} << 20;

  // Bytes of tensors of kSmallestKept or more.
  struct Usage {
    size_t live = 0;
    size_t kept = 0;  // freed, and not yet given back
    size_t peak = 0;  // the most that `live` has been
  };

  explicit TensorMemory(bool keeping) : keeping_(keeping) {}
  ~TensorMemory() override;

  // Throws c10::Error when the system has no memory left, as LibTorch's own allocator.
  c10::DataPtr allocate(size_t bytes) override;
  c10::DeleterFnPtr raw_deleter() const override;
  void copy_data(void* to, const void* from, size_t bytes) const override;

  // Without keeping, what is kept is given back now and what is freed at once.
  void SetKeeping(bool keeping) ABSL_LOCKS_EXCLUDED(mutex_);
  Usage usage() const ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  struct Header;
  struct Block {
    void* header = nullptr;  // where its memory begins
    size_t bytes = 0;        // of data behind the header
  };

  // Counts `bytes` as live. The memory of a kept block of exactly that size; null: there is none.
  void* Take(size_t bytes) ABSL_LOCKS_EXCLUDED(mutex_);
  static void Free(void* data);

  mutable absl::Mutex mutex_;
  bool keeping_ ABSL_GUARDED_BY(mutex_);
  Usage usage_ ABSL_GUARDED_BY(mutex_);              // its peak as of the last tensor freed
  std::vector<Block> kept_ ABSL_GUARDED_BY(mutex_);  // the longest unused first
};

// Makes LibTorch use a TensorMemory from now on, without keeping. Called by SetUpJob, before
// anything large is there.
void UseTensorMemory();

// Of that one. Steps are alike and gain by keeping; before and after them are files in memory, too,
// which would come on top of what is kept.
void KeepFreedTensors(bool keeping);

}  // namespace longlora::trainer

#endif  // LONGLORA_WORKER_TRAINER_ALLOCATION_H_
