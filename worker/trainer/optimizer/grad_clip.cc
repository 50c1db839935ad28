#include "worker/trainer/optimizer/grad_clip.h"

namespace longlora::trainer {

double GlobalNorm(const std::vector<torch::Tensor>& gradients) {
  if (gradients.empty()) return 0.0;
  std::vector<torch::Tensor> norms;
  norms.reserve(gradients.size());
  for (const torch::Tensor& gradient : gradients)
    norms.push_back(torch::linalg_vector_norm(gradient));
  return torch::linalg_vector_norm(torch::stack(norms)).item<double>();
}

void ClipToNorm(const std::vector<torch::Tensor>& gradients, double norm, double max_norm) {
  // torch adds this to the norm before it divides.
  constexpr double kEpsilon = 1e-6;
  if (max_norm == 0.0) return;
  const double scale = max_norm / (norm + kEpsilon);
  if (scale >= 1.0) return;
  for (const torch::Tensor& gradient : gradients) gradient.mul_(scale);
}

}  // namespace longlora::trainer
