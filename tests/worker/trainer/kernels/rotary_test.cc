// Goal: the arithmetic that the CUDA kernel runs is a rotation by the tables' angles, whatever the
// strides and types. Method: RotatePair, the function a GPU thread calls, is run for every pair on
// the CPU and compared with rotate-half written in tensor operations; the CPU operator likewise.
#include "worker/trainer/kernels/rotary.h"

#include <gtest/gtest.h>

#include "worker/trainer/kernels/rotary_arguments.h"

namespace longlora::trainer {
namespace {

using torch::Tensor;

struct Case {
  Tensor x;  // [B, T, H, D]
  Tensor cos;
  Tensor sin;
};

// Views of a wider projection, as the model's query and key heads are.
Case MakeCase(torch::ScalarType type) {
  torch::manual_seed(5);
  const int64_t rows = 2, tokens = 7, heads = 3, size = 8;
  const Tensor projection = torch::randn({rows, tokens, (heads + 2) * size}).to(type);
  Case made;
  made.x = projection.narrow(2, size, heads * size).view({rows, tokens, heads, size});
  const auto table = type == torch::kFloat64 ? torch::kFloat64 : torch::kFloat32;
  const Tensor angles = torch::randn({rows, tokens, size / 2}).to(table) * 3;
  made.cos = angles.cos();
  made.sin = angles.sin();
  return made;
}

// transformers' x cos + rotate_half(x) sin, in fp64.
Tensor Reference(const Case& input, double direction) {
  const Tensor x = input.x.to(torch::kFloat64);
  const int64_t half = x.size(3) / 2;
  const auto table = [](const Tensor& values) {
    const Tensor wide = values.to(torch::kFloat64).unsqueeze(2);
    return torch::cat({wide, wide}, 3);
  };
  const Tensor turned = torch::cat({-x.slice(3, half), x.slice(3, 0, half)}, 3);
  return x * table(input.cos) + turned * table(input.sin) * direction;
}

void ExpectNear(const Tensor& actual, const Tensor& expected, double tolerance) {
  EXPECT_LE((actual.to(torch::kFloat64) - expected).abs().max().item<double>(), tolerance);
}

TEST(RotaryTest, EveryGpuThreadsWorkTogetherIsTheRotation) {
  const Case input = MakeCase(torch::kFloat32);
  const RotaryShape shape = DescribeRotary(input.x, input.cos, input.sin);
  const Tensor out = torch::empty(input.x.sizes());
  const int64_t pairs = input.x.numel() / 2;
  for (int64_t pair = 0; pair < pairs; ++pair) {
    RotatePair(input.x.const_data_ptr<float>(), input.cos.const_data_ptr<float>(),
               input.sin.const_data_ptr<float>(), out.mutable_data_ptr<float>(), 1.0F, pair, shape);
  }
  ExpectNear(out, Reference(input, 1.0), 1e-6);
}

TEST(RotaryTest, TheOperatorRotatesThereAndBackInEveryType) {
  for (const auto& [type, tolerance] :
       std::vector<std::pair<torch::ScalarType, double>>{{torch::kFloat64, 1e-14},
                                                         {torch::kFloat32, 1e-6},
                                                         {torch::kFloat16, 4e-3},
                                                         {torch::kBFloat16, 3e-2}}) {
    const Case input = MakeCase(type);
    const Tensor there = RotateHeads(input.x, input.cos, input.sin, /*back=*/false);
    EXPECT_EQ(there.scalar_type(), type);
    EXPECT_TRUE(there.is_contiguous());
    ExpectNear(there, Reference(input, 1.0), tolerance);
    ExpectNear(RotateHeads(input.x, input.cos, input.sin, /*back=*/true), Reference(input, -1.0),
               tolerance);
    ExpectNear(RotateHeads(there, input.cos, input.sin, /*back=*/true), input.x.to(torch::kFloat64),
               2 * tolerance);
  }
}

TEST(RotaryTest, TensorsThatDoNotFitTogetherAreRefused) {
  const Case input = MakeCase(torch::kFloat32);
  EXPECT_THROW(RotateHeads(input.x.slice(3, 0, 7), input.cos, input.sin, false), c10::Error);
  EXPECT_THROW(RotateHeads(input.x.transpose(2, 3), input.cos, input.sin, false), c10::Error);
  EXPECT_THROW(RotateHeads(input.x, input.cos.slice(1, 1), input.sin, false), c10::Error);
  EXPECT_THROW(RotateHeads(input.x, input.cos.to(torch::kFloat64), input.sin, false), c10::Error);
}

}  // namespace
}  // namespace longlora::trainer
