#include "worker/trainer/allocation.h"

#include <malloc.h>

namespace longlora::trainer {

void ReturnFreedTensors() {
  constexpr int kTensorBytes = 1 << 20;
  // What is free at the heap's end and stays there, so that small tensors do not come and go by
  // system calls.
  constexpr int kHeapEndBytes = 8 << 20;
  mallopt(M_MMAP_THRESHOLD, kTensorBytes);
  mallopt(M_TRIM_THRESHOLD, kHeapEndBytes);
}

}  // namespace longlora::trainer
