// Goal: AdamW is torch.optim.AdamW. Method: the weights that torch.optim.AdamW (torch 2.11; a
// matrix with weight decay 0.1, a vector without) reached after three updates with changing rates,
// among them 0.
#include "worker/trainer/optimizer/adamw.h"

#include <gtest/gtest.h>

namespace longlora::trainer {
namespace {

using torch::Tensor;

common::OptimizerSpec Spec(double weight_decay) {
  common::OptimizerSpec spec;
  spec.beta1 = 0.9;
  spec.beta2 = 0.95;
  spec.epsilon = 1e-8;
  spec.weight_decay = weight_decay;
  return spec;
}

TEST(AdamWTest, ThreeUpdatesEqualTorchOptim) {
  const Tensor matrix = torch::tensor({{1.0F, -2.0F}, {0.5F, 4.0F}}).requires_grad_();
  const Tensor vector = torch::tensor({1.0F, 2.0F}).requires_grad_();
  AdamW optimizer({matrix, vector}, Spec(/*weight_decay=*/0.1));

  optimizer.Step({torch::tensor({{0.1F, -0.2F}, {0.3F, 0.0F}}), torch::tensor({0.5F, -0.5F})}, 0.0);
  optimizer.Step({torch::tensor({{-0.5F, 0.2F}, {0.01F, 1.0F}}), torch::tensor({0.0F, 3.0F})}, 0.1);
  optimizer.Step({torch::tensor({{0.2F, 0.2F}, {-0.3F, -2.0F}}), torch::tensor({1e-4F, -1e-4F})},
                 0.05);

  EXPECT_EQ(optimizer.step(), 3);
  EXPECT_TRUE(torch::allclose(
      matrix, torch::tensor({{1.0537457F, -1.9954476F}, {0.4261532F, 3.8824778F}}), 1e-6, 1e-7))
      << matrix;
  EXPECT_TRUE(torch::allclose(vector, torch::tensor({0.9055597F, 1.9141967F}), 1e-6, 1e-7))
      << vector;
}

TEST(AdamWTest, AStateThatIsCopiedGoesOnBitEqual) {
  const Tensor start = torch::linspace(-1.0, 1.0, 12).view({3, 4});
  const auto gradient = [](int step) {
    return torch::sin(torch::arange(12.0F) * (step + 1)).view({3, 4});
  };
  const Tensor whole = start.clone().requires_grad_();
  AdamW uninterrupted({whole}, Spec(0.01));
  for (int step = 0; step < 6; ++step) uninterrupted.Step({gradient(step)}, 0.01);

  const Tensor first = start.clone().requires_grad_();
  AdamW before({first}, Spec(0.01));
  for (int step = 0; step < 3; ++step) before.Step({gradient(step)}, 0.01);
  const Tensor second = first.detach().clone().requires_grad_();
  AdamW after({second}, Spec(0.01));
  Tensor(after.exp_avg()[0]).copy_(before.exp_avg()[0]);
  Tensor(after.exp_avg_sq()[0]).copy_(before.exp_avg_sq()[0]);
  after.set_step(before.step());
  for (int step = 3; step < 6; ++step) after.Step({gradient(step)}, 0.01);

  EXPECT_TRUE(torch::equal(whole, second));
}

TEST(AdamWTest, AFactorMultipliesTheRateOfItsParameterOnly) {
  const auto gradient = [](int step) {
    return torch::full({2, 2}, 0.1F * static_cast<float>(step));
  };
  const Tensor slow = torch::ones({2, 2}).requires_grad_(),
               fast = torch::ones({2, 2}).requires_grad_(),
               vector = torch::ones({2}).requires_grad_();
  AdamW grouped({slow, fast, vector}, Spec(0.1), {1.0, 4.0, 0.5});
  // Each alone, with its own rate.
  const Tensor slow_alone = torch::ones({2, 2}).requires_grad_(),
               fast_alone = torch::ones({2, 2}).requires_grad_(),
               vector_alone = torch::ones({2}).requires_grad_();
  AdamW first({slow_alone}, Spec(0.1)), second({fast_alone}, Spec(0.1)),
      third({vector_alone}, Spec(0.1));
  for (int step = 1; step <= 3; ++step) {
    const Tensor of_vector = torch::full({2}, -0.2F);
    grouped.Step({gradient(step), gradient(step), of_vector}, 0.01);
    first.Step({gradient(step)}, 0.01);
    second.Step({gradient(step)}, 0.04);
    third.Step({of_vector}, 0.005);
  }
  EXPECT_TRUE(torch::equal(slow, slow_alone));
  EXPECT_TRUE(torch::equal(fast, fast_alone));
  EXPECT_TRUE(torch::equal(vector, vector_alone));
  EXPECT_FALSE(torch::equal(slow, fast));
}

TEST(AdamWTest, ParametersKeepTheirGradientFlag) {
  const Tensor parameter = torch::ones({2, 2}).requires_grad_();
  AdamW optimizer({parameter}, Spec(0.0));
  optimizer.Step({torch::ones({2, 2})}, 0.1);
  EXPECT_TRUE(parameter.requires_grad());
  EXPECT_TRUE(parameter.is_leaf());
  EXPECT_FALSE(optimizer.exp_avg()[0].requires_grad());
}

}  // namespace
}  // namespace longlora::trainer
