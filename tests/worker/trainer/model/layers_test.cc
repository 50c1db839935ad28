// Goal: each hand-written layer computes its formula, forward and backward, and in bf16 rounds
// once. Method: the formula written with plain torch operators in fp64 and differentiated by
// autograd.
#include <gtest/gtest.h>

#include "worker/trainer/model/layer_checkpoint.h"
#include "worker/trainer/model/rms_norm.h"
#include "worker/trainer/model/rope.h"
#include "worker/trainer/model/swiglu.h"
#include "worker/trainer/torch.h"

namespace longlora::trainer {
namespace {

using torch::Tensor;

void ExpectSameGradients(const Tensor& actual, const Tensor& expected,
                         const std::vector<Tensor>& inputs) {
  ASSERT_TRUE(torch::allclose(actual, expected, 1e-6, 1e-7));
  const Tensor weight = torch::randn_like(expected);
  const auto a = torch::autograd::grad({actual}, inputs, {weight});
  const auto e = torch::autograd::grad({expected}, inputs, {weight});
  for (size_t i = 0; i < a.size(); ++i) {
    EXPECT_TRUE(torch::allclose(a[i], e[i], 1e-5, 1e-6)) << "input " << i;
  }
}

class LayersTest : public ::testing::TestWithParam<torch::ScalarType> {};

TEST_P(LayersTest, RmsNormIsItsFormula) {
  torch::manual_seed(1);
  const Tensor x = torch::randn({2, 37, 24}, GetParam()).requires_grad_();
  const Tensor w = torch::randn({24}, GetParam()).requires_grad_();
  const Tensor expected = x / (x.square().mean(-1, true) + 1e-5).sqrt() * w;
  ExpectSameGradients(RmsNorm(x, w, 1e-5), expected, {x, w});
}

TEST_P(LayersTest, SwiGluIsItsFormula) {
  torch::manual_seed(2);
  const Tensor gate = torch::randn({2, 37, 24}, GetParam()).mul(3).requires_grad_();
  const Tensor up = torch::randn({2, 37, 24}, GetParam()).requires_grad_();
  ExpectSameGradients(SwiGlu(gate, up), gate * torch::sigmoid(gate) * up, {gate, up});
}

TEST_P(LayersTest, RotaryTurnsTheHalvesOfAHeadAgainstEachOther) {
  torch::manual_seed(3);
  const Tensor x = torch::randn({2, 9, 3, 8}, GetParam()).requires_grad_();
  const Tensor positions = torch::randint(100, {2, 9}, torch::kInt64);
  const RotaryTables tables = MakeRotaryTables(positions, InverseFrequencies(8, {.theta = 100.0}));
  // As complex numbers: (first + i second) e^(i angle).
  const Tensor z = torch::complex(x.slice(3, 0, 4), x.slice(3, 4));
  const Tensor turn = torch::complex(tables.cos, tables.sin).unsqueeze(2);
  const Tensor turned = z * turn;
  ExpectSameGradients(ApplyRotary(x, tables),
                      torch::cat({torch::real(turned), torch::imag(turned)}, 3), {x});
}

INSTANTIATE_TEST_SUITE_P(Types, LayersTest, ::testing::Values(torch::kFloat32, torch::kFloat64),
                         [](const auto& info) {
                           return info.param == torch::kFloat32 ? "Fp32" : "Fp64";
                         });

// Largest error of a bf16 result against fp64 on the same bf16 inputs, relative to the value: one
// rounding is at most 2^-8.
double RoundingError(const Tensor& bf16, const Tensor& exact) {
  return ((bf16.to(torch::kFloat64) - exact).abs() / (exact.abs() + 1e-2)).max().item<double>();
}

TEST(LayersBf16Test, NormAndRotationAreRoundedOnce) {
  torch::manual_seed(4);
  const auto bf16 = [](at::IntArrayRef shape) { return torch::randn(shape).to(torch::kBFloat16); };
  const auto wide = [](const Tensor& t) { return t.to(torch::kFloat64); };
  const double one_rounding = 1.0 / 256 + 1e-4;
  const Tensor x = bf16({2, 37, 24}), heads = bf16({2, 37, 3, 8});
  const Tensor w = torch::randn({24});
  EXPECT_LT(RoundingError(RmsNorm(x, w, 1e-5), RmsNorm(wide(x), wide(w), 1e-5)), one_rounding);
  const RotaryTables tables =
      MakeRotaryTables(torch::arange(37).expand({2, 37}), InverseFrequencies(8, {}));
  EXPECT_LT(RoundingError(ApplyRotary(heads, tables), ApplyRotary(wide(heads), tables)),
            one_rounding);
}

TEST(RopeTest, LinearScalingShrinksEveryAngleByTheFactor) {
  const Tensor plain = InverseFrequencies(8, {.theta = 10000.0, .factor = 1.0});
  const Tensor scaled =
      InverseFrequencies(8, {.kind = common::RotaryKind::kLinear, .theta = 10000.0, .factor = 4.0});
  EXPECT_TRUE(torch::allclose(scaled * 4.0, plain));
  EXPECT_NEAR(plain[1].item<double>(), 0.1, 1e-6);  // 10000^(-2/8)
}

TEST(RopeTest, APartOfAHeadMayPassUnturned) {
  torch::manual_seed(6);
  const Tensor x = torch::randn({1, 5, 2, 8}).requires_grad_();
  const RotaryTables tables = MakeRotaryTables(torch::arange(5).unsqueeze(0),
                                               InverseFrequencies(8, {.partial_factor = 0.5}));
  const Tensor y = ApplyRotary(x, tables);
  EXPECT_TRUE(torch::equal(y.slice(3, 4), x.slice(3, 4)));
  EXPECT_TRUE(torch::equal(y.slice(3, 0, 4), ApplyRotary(x.slice(3, 0, 4).contiguous(), tables)));
  // A rotation keeps lengths, so the gradient of the square is that of the square of x.
  const Tensor grad = torch::autograd::grad({y.square().sum()}, {x})[0];
  EXPECT_TRUE(torch::allclose(grad, 2 * x, 1e-5, 1e-6));
}

TEST(RopeTest, TheAttentionFactorScalesBothTables) {
  const Tensor positions = torch::arange(5).unsqueeze(0), inverse = InverseFrequencies(8, {});
  const RotaryTables plain = MakeRotaryTables(positions, inverse);
  const RotaryTables scaled = MakeRotaryTables(positions, inverse, 1.5);
  EXPECT_TRUE(torch::allclose(scaled.cos, 1.5 * plain.cos));
  EXPECT_TRUE(torch::allclose(scaled.sin, 1.5 * plain.sin));
}

TEST(CheckpointedTest, GradientsEqualAPlainRunAndTheBlockRunsTwice) {
  torch::manual_seed(5);
  const Tensor w = torch::randn({8, 8}, torch::kFloat64).requires_grad_();
  const Tensor unused = torch::randn({2}, torch::kFloat64).requires_grad_();
  const Tensor x = torch::randn({3, 8}, torch::kFloat64).requires_grad_();
  int runs = 0;
  const auto block = [&](const Tensor& t) {
    ++runs;
    return t + torch::tanh(t.matmul(w)).matmul(w);
  };
  const Tensor expected = block(block(x));
  const auto e = torch::autograd::grad({expected.square().sum()}, {x, w});
  runs = 0;
  const Tensor actual = Checkpointed(block, Checkpointed(block, x, {w, unused}), {w, unused});
  EXPECT_EQ(runs, 2);
  EXPECT_TRUE(torch::equal(actual, expected));
  const auto a = torch::autograd::grad({actual.square().sum()}, {x, w});
  EXPECT_EQ(runs, 4);
  EXPECT_TRUE(torch::allclose(a[0], e[0], 1e-12, 1e-14));
  EXPECT_TRUE(torch::allclose(a[1], e[1], 1e-12, 1e-14));
}

TEST(CheckpointedTest, InputWithoutGradientStillTrainsTheParameters) {
  const Tensor w = torch::randn({8, 8}).requires_grad_();
  const Tensor x = torch::randn({3, 8});
  const auto block = [&](const Tensor& t) { return t.matmul(w); };
  const auto a = torch::autograd::grad({Checkpointed(block, x, {w}).square().sum()}, {w});
  const auto e = torch::autograd::grad({block(x).square().sum()}, {w});
  EXPECT_TRUE(torch::allclose(a[0], e[0]));
}

}  // namespace
}  // namespace longlora::trainer
