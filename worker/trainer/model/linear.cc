#include "worker/trainer/model/linear.h"

namespace longlora::trainer {

torch::Tensor Linear::Forward(const torch::Tensor& x) const {
  torch::Tensor y = at::linear(x, weight, bias);
  return adapter == nullptr ? y : adapter->AddTo(y, x);
}

}  // namespace longlora::trainer
