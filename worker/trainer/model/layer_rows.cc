#include "worker/trainer/model/layer_rows.h"

#include <cmath>

namespace longlora::trainer {
namespace {

template <typename T>
LONGLORA_INLINE void RmsNormForwardRows(const T* x, const float* weight, float eps, int64_t width,
                                        int64_t begin, int64_t end, T* y, float* scale) {
  for (int64_t row = begin; row < end; ++row) {
    const T* in = x + row * width;
    T* out = y + row * width;
    float sum = 0.0f;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < width; ++i) sum += Load(in[i]) * Load(in[i]);
    const float s = 1.0f / std::sqrt(sum / static_cast<float>(width) + eps);
    scale[row] = s;
    for (int64_t i = 0; i < width; ++i) Store(Load(in[i]) * s * weight[i], out[i]);
  }
}

template <typename T>
LONGLORA_INLINE void RmsNormBackwardRows(const T* grad, const T* x, const float* weight,
                                         const float* scale, int64_t width, int64_t begin,
                                         int64_t end, T* grad_x, float* grad_weight) {
  for (int64_t row = begin; row < end; ++row) {
    const T* g = grad + row * width;
    const T* in = x + row * width;
    const float s = scale[row];
    if (grad_weight != nullptr) {
      for (int64_t i = 0; i < width; ++i) grad_weight[i] += Load(g[i]) * (Load(in[i]) * s);
    }
    if (grad_x == nullptr) continue;
    T* out = grad_x + row * width;
    float along = 0.0f;
#pragma omp simd reduction(+ : along)
    for (int64_t i = 0; i < width; ++i) along += Load(g[i]) * weight[i] * (Load(in[i]) * s);
    along /= static_cast<float>(width);
    for (int64_t i = 0; i < width; ++i) {
      Store((Load(g[i]) * weight[i] - Load(in[i]) * s * along) * s, out[i]);
    }
  }
}

template <typename T>
LONGLORA_INLINE void RotateRows(const T* x, const float* cos, const float* sin, float direction,
                                int64_t heads, int64_t half, int64_t begin, int64_t end, T* y) {
  for (int64_t token = begin; token < end; ++token) {
    const float* c = cos + token * half;
    const float* s = sin + token * half;
    for (int64_t head = 0; head < heads; ++head) {
      const T* in = x + (token * heads + head) * 2 * half;
      T* out = y + (token * heads + head) * 2 * half;
      for (int64_t i = 0; i < half; ++i) {
        const float first = Load(in[i]), second = Load(in[half + i]), turn = s[i] * direction;
        Store(first * c[i] - second * turn, out[i]);
        Store(second * c[i] + first * turn, out[half + i]);
      }
    }
  }
}

}  // namespace

LONGLORA_CLONES void RmsNormForward(RowType type, const void* x, const float* weight, float eps,
                                    int64_t width, int64_t begin, int64_t end, void* y,
                                    float* scale) {
  if (type == RowType::kBf16) {
    RmsNormForwardRows(static_cast<const Bf16*>(x), weight, eps, width, begin, end,
                       static_cast<Bf16*>(y), scale);
  } else {
    RmsNormForwardRows(static_cast<const float*>(x), weight, eps, width, begin, end,
                       static_cast<float*>(y), scale);
  }
}

LONGLORA_CLONES void RmsNormBackward(RowType type, const void* grad, const void* x,
                                     const float* weight, const float* scale, int64_t width,
                                     int64_t begin, int64_t end, void* grad_x, float* grad_weight) {
  if (type == RowType::kBf16) {
    RmsNormBackwardRows(static_cast<const Bf16*>(grad), static_cast<const Bf16*>(x), weight, scale,
                        width, begin, end, static_cast<Bf16*>(grad_x), grad_weight);
  } else {
    RmsNormBackwardRows(static_cast<const float*>(grad), static_cast<const float*>(x), weight,
                        scale, width, begin, end, static_cast<float*>(grad_x), grad_weight);
  }
}

LONGLORA_CLONES void Rotate(RowType type, const void* x, const float* cos, const float* sin,
                            float direction, int64_t heads, int64_t half, int64_t begin,
                            int64_t end, void* y) {
  if (type == RowType::kBf16) {
    RotateRows(static_cast<const Bf16*>(x), cos, sin, direction, heads, half, begin, end,
               static_cast<Bf16*>(y));
  } else {
    RotateRows(static_cast<const float*>(x), cos, sin, direction, heads, half, begin, end,
               static_cast<float*>(y));
  }
}

}  // namespace longlora::trainer
