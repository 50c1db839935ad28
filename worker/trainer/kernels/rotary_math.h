// The arithmetic of rotating a head by its position (Su et al. 2021, eq. 34, in the half-split
// layout of Hugging Face models). One definition for g++ and nvcc: what the CPU's tests hold, the
// GPU computes.
#ifndef LONGLORA_WORKER_TRAINER_KERNELS_ROTARY_MATH_H_
#define LONGLORA_WORKER_TRAINER_KERNELS_ROTARY_MATH_H_

#include <cstdint>

#ifdef __CUDACC__
#define LONGLORA_HOST_DEVICE __host__ __device__
#else
#define LONGLORA_HOST_DEVICE
#endif

namespace longlora::trainer {

// Heads of one row after another: x is [tokens, heads, 2 * half], cos and sin are [tokens, half].
// Tokens and heads of x may lie anywhere; the last dimension is dense.
struct RotaryShape {
  int64_t heads = 0;
  int64_t half = 0;
  int64_t x_token_stride = 0;
  int64_t x_head_stride = 0;
};

// Turns pair `i` of one head: (head[i], head[i + half]) into out[i], out[i + half]. `sign` -1 turns
// back, which is the gradient. T: storage type; A: float, or double when T is.
template <typename T, typename A>
LONGLORA_HOST_DEVICE inline void RotateOne(const T* head, const A* cos, const A* sin, T* out,
                                           A sign, int64_t i, int64_t half) {
  const A first = static_cast<A>(head[i]);
  const A second = static_cast<A>(head[i + half]);
  const A c = cos[i];
  const A s = sign * sin[i];
  out[i] = static_cast<T>(first * c - second * s);
  out[i + half] = static_cast<T>(second * c + first * s);
}

// The same for pair `pair` of all tokens * heads * half, from `x` into the dense `out`: a GPU
// thread's work.
template <typename T, typename A>
LONGLORA_HOST_DEVICE inline void RotatePair(const T* x, const A* cos, const A* sin, T* out, A sign,
                                            int64_t pair, const RotaryShape& shape) {
  const int64_t i = pair % shape.half;
  const int64_t head = pair / shape.half % shape.heads;
  const int64_t token = pair / shape.half / shape.heads;
  RotateOne(x + token * shape.x_token_stride + head * shape.x_head_stride, cos + token * shape.half,
            sin + token * shape.half, out + (token * shape.heads + head) * 2 * shape.half, sign, i,
            shape.half);
}

}  // namespace longlora::trainer

#endif  // LONGLORA_WORKER_TRAINER_KERNELS_ROTARY_MATH_H_
