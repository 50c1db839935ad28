// What CPU kernels over rows of activations share: element types, conversions, and the choice of
// instruction set at run time. Included by the kernels' own files only, which are compiled with
// -O3 -fopenmp-simd. No torch.
#ifndef LONGLORA_WORKER_TRAINER_KERNELS_CPU_ROWS_H_
#define LONGLORA_WORKER_TRAINER_KERNELS_CPU_ROWS_H_

#include <bit>
#include <cstdint>

// A sanitizer's runtime is not up yet when the loader chooses among clones.
#if defined(__x86_64__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define LONGLORA_CLONES \
  __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define LONGLORA_CLONES
#endif
// Inlined into each clone, to be compiled for its instruction set.
#define LONGLORA_INLINE __attribute__((always_inline)) inline

namespace longlora::trainer {

// Element type of activations.
enum class RowType { kFloat, kBf16 };

struct Bf16 {
  uint16_t bits;
};

LONGLORA_INLINE float Load(float value) { return value; }
LONGLORA_INLINE float Load(Bf16 value) {
  return std::bit_cast<float>(static_cast<uint32_t>(value.bits) << 16);
}

LONGLORA_INLINE void Store(float value, float& to) { to = value; }
// To nearest, ties to even. NaN stays NaN: the trainer stops at it.
LONGLORA_INLINE void Store(float value, Bf16& to) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const uint32_t rounded = bits + 0x7fffu + ((bits >> 16) & 1u);
  const bool nan = (bits & 0x7fffffffu) > 0x7f800000u;
  to.bits = static_cast<uint16_t>((nan ? 0x7fc00000u : rounded) >> 16);
}

}  // namespace longlora::trainer

#endif  // LONGLORA_WORKER_TRAINER_KERNELS_CPU_ROWS_H_
