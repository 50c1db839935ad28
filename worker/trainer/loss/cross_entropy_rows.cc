#include "worker/trainer/loss/cross_entropy_rows.h"

#include <cmath>
#include <limits>

namespace longlora::trainer {
namespace {

// e^x for x <= 0, within 2 ulp: 2^n times a polynomial (Cephes expf). Branch-free, so that it
// vectorizes.
LONGLORA_INLINE float Exp(float x) {
  constexpr float kLowest = -87.0f;
  const float bounded = x < kLowest ? kLowest : x;  // NaN compares false and stays
  const float n = std::floor(bounded * 1.44269504088896341f + 0.5f);
  const float r = (bounded - n * 0.693359375f) - n * -2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  const int32_t exponent = (static_cast<int32_t>(n) + 127) << 23;
  const float result = p * std::bit_cast<float>(exponent);
  return x < kLowest ? 0.0f : result;
}

template <typename T>
LONGLORA_INLINE void Compute(T* logits, const int64_t* targets, int64_t width, int64_t begin,
                             int64_t end, bool write_grad, float* loss) {
  // Partial sums keep fp32 accurate over a large vocabulary.
  constexpr int64_t kBlock = 1024;
  for (int64_t row = begin; row < end; ++row) {
    T* l = logits + row * width;
    float largest = -std::numeric_limits<float>::infinity();
#pragma omp simd reduction(max : largest)
    for (int64_t i = 0; i < width; ++i) {
      const float value = Load(l[i]);
      largest = value > largest ? value : largest;
    }
    double sum = 0.0;
    for (int64_t block = 0; block < width; block += kBlock) {
      const int64_t block_end = block + kBlock < width ? block + kBlock : width;
      float part = 0.0f;
#pragma omp simd reduction(+ : part)
      for (int64_t i = block; i < block_end; ++i) part += Exp(Load(l[i]) - largest);
      sum += part;
    }
    const float target = Load(l[targets[row]]);
    loss[row] = static_cast<float>(std::log(sum)) - (target - largest);
    if (!write_grad) continue;
    const float inverse = static_cast<float>(1.0 / sum);
    const float p = Exp(target - largest) * inverse;
    for (int64_t i = 0; i < width; ++i) Store(Exp(Load(l[i]) - largest) * inverse, l[i]);
    Store(p - 1.0f, l[targets[row]]);
  }
}

}  // namespace

LONGLORA_CLONES void CrossEntropyRows(RowType type, void* logits, const int64_t* targets,
                                      int64_t width, int64_t begin, int64_t end, bool write_grad,
                                      float* loss) {
  if (type == RowType::kBf16) {
    Compute(static_cast<Bf16*>(logits), targets, width, begin, end, write_grad, loss);
  } else {
    Compute(static_cast<float*>(logits), targets, width, begin, end, write_grad, loss);
  }
}

}  // namespace longlora::trainer
