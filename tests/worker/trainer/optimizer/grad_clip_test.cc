// Goal: clipping is torch.nn.utils.clip_grad_norm_. Method: its formula by hand on numbers with a
// round norm.
#include "worker/trainer/optimizer/grad_clip.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace longlora::trainer {
namespace {

using torch::Tensor;

// Norm 5 over both tensors.
std::vector<Tensor> NormFive() {
  return {torch::tensor({3.0F, 0.0F}), torch::tensor({{4.0F}, {0.0F}})};
}

TEST(GradClipTest, TheNormIsOverAllTensors) { EXPECT_DOUBLE_EQ(GlobalNorm(NormFive()), 5.0); }

TEST(GradClipTest, ALargerNormIsScaledToTheLimit) {
  const std::vector<Tensor> gradients = NormFive();
  ClipToNorm(gradients, 5.0, 2.0);
  const double scale = 2.0 / (5.0 + 1e-6);
  EXPECT_FLOAT_EQ(gradients[0][0].item<float>(), static_cast<float>(3.0 * scale));
  EXPECT_FLOAT_EQ(gradients[1][0][0].item<float>(), static_cast<float>(4.0 * scale));
}

TEST(GradClipTest, ASmallerNormAndNoLimitLeaveTheGradientsAsTheyAre) {
  for (const double max_norm : {5.1, 0.0}) {
    const std::vector<Tensor> gradients = NormFive();
    ClipToNorm(gradients, 5.0, max_norm);
    EXPECT_EQ(gradients[0][0].item<float>(), 3.0F) << max_norm;
    EXPECT_EQ(gradients[1][0][0].item<float>(), 4.0F) << max_norm;
  }
}

TEST(GradClipTest, OneBrokenElementMakesTheNormNotFinite) {
  for (const float broken :
       {std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
    EXPECT_FALSE(std::isfinite(GlobalNorm({torch::tensor({1.0F}), torch::tensor({1.0F, broken})})));
  }
}

}  // namespace
}  // namespace longlora::trainer
