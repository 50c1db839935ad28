#include "worker/trainer/model/swiglu.h"

namespace longlora::trainer {

torch::Tensor SwiGlu(const torch::Tensor& gate, const torch::Tensor& up) {
  return torch::silu(gate) * up;
}

}  // namespace longlora::trainer
