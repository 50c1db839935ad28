// Goal: the chunked loss is the ordinary one, with its gradients, and never holds a full logits
// matrix. Method: comparison with torch's own cross-entropy over all logits in fp64, for chunks
// that do and do not divide the tokens; and a look at the largest tensor each operator makes.
#include "worker/trainer/loss/chunked_cross_entropy.h"

#include <ATen/record_function.h>
#include <gtest/gtest.h>
#include <torch/nn/functional/loss.h>

#include <algorithm>

#include "worker/trainer/torch.h"

namespace longlora::trainer {
namespace {

struct Problem {
  torch::Tensor hidden, head, labels;
};

Problem RandomProblem(torch::ScalarType dtype, int64_t rows = 2, int64_t tokens = 13,
                      int64_t vocabulary = 29) {
  torch::manual_seed(3);
  Problem p{torch::randn({rows, tokens, 8}, dtype).requires_grad_(),
            torch::randn({vocabulary, 8}, dtype).requires_grad_(),
            torch::randint(vocabulary, {rows, tokens}, torch::kInt64)};
  p.labels.masked_fill_(torch::rand(p.labels.sizes()) < 0.3, kIgnoreLabel);
  return p;
}

torch::Tensor Reference(const Problem& p) {
  const torch::Tensor logits = p.hidden.matmul(p.head.t());
  return torch::nn::functional::cross_entropy(logits.slice(1, 0, -1).flatten(0, 1),
                                              p.labels.slice(1, 1).flatten(),
                                              torch::nn::functional::CrossEntropyFuncOptions()
                                                  .ignore_index(kIgnoreLabel)
                                                  .reduction(torch::kSum));
}

class ChunkTest : public ::testing::TestWithParam<int64_t> {};

TEST_P(ChunkTest, SumAndGradientsEqualFullCrossEntropy) {
  const Problem p = RandomProblem(torch::kFloat64);
  const torch::Tensor expected = Reference(p);
  const LossSum actual = ChunkedCrossEntropy(p.hidden, p.head, p.labels, GetParam());
  EXPECT_NEAR(actual.sum.item<double>(), expected.item<double>(), 1e-10);
  EXPECT_EQ(actual.targets, CountTargets(p.labels));
  // Scaled, as the trainer divides by the targets of a whole step.
  const auto expected_grads = torch::autograd::grad({expected / 7.0}, {p.hidden, p.head});
  const auto actual_grads = torch::autograd::grad({actual.sum / 7.0}, {p.hidden, p.head});
  for (size_t i = 0; i < 2; ++i) {
    EXPECT_TRUE(torch::allclose(actual_grads[i], expected_grads[i], 1e-10, 1e-12));
  }
}

INSTANTIATE_TEST_SUITE_P(Sizes, ChunkTest, ::testing::Values(1, 4, 7, 26, 1000));

TEST_P(ChunkTest, TokenLossesAreThoseOfEachTarget) {
  for (const auto dtype : {torch::kFloat64, torch::kFloat32}) {
    const Problem p = RandomProblem(dtype);
    const torch::Tensor all = torch::nn::functional::cross_entropy(
        p.hidden.matmul(p.head.t()).slice(1, 0, -1).flatten(0, 1), p.labels.slice(1, 1).flatten(),
        torch::nn::functional::CrossEntropyFuncOptions()
            .ignore_index(kIgnoreLabel)
            .reduction(torch::kNone));
    const TokenLosses actual = ChunkedTokenLosses(p.hidden, p.head, p.labels, GetParam());
    // By hand: the flattened index of every label that counts.
    std::vector<int64_t> targets;
    std::vector<torch::Tensor> losses;
    for (int64_t row = 0; row < 2; ++row) {
      for (int64_t t = 1; t < 13; ++t) {
        if (p.labels[row][t].item<int64_t>() == kIgnoreLabel) continue;
        targets.push_back(row * 13 + t);
        losses.push_back(all[row * 12 + t - 1]);
      }
    }
    EXPECT_TRUE(torch::equal(actual.targets, torch::tensor(targets)));
    EXPECT_TRUE(torch::allclose(actual.losses, torch::stack(losses), 1e-5, 1e-6));
    EXPECT_FALSE(actual.losses.requires_grad());
  }
}

TEST(ChunkedCrossEntropyTest, FrozenHeadGetsNoGradientAndHiddenStatesStill) {
  Problem p = RandomProblem(torch::kFloat64);
  const auto expected = torch::autograd::grad({Reference(p)}, {p.hidden});
  const LossSum loss = ChunkedCrossEntropy(p.hidden, p.head.detach(), p.labels, 5);
  loss.sum.backward();
  EXPECT_TRUE(torch::allclose(p.hidden.grad(), expected[0], 1e-10, 1e-12));
  EXPECT_FALSE(p.head.grad().defined());
}

TEST(ChunkedCrossEntropyTest, TrainedMasterOfABf16ModelGetsAnFp32Gradient) {
  Problem p = RandomProblem(torch::kFloat32);
  const auto expected = torch::autograd::grad({Reference(p)}, {p.head});
  const torch::Tensor hidden = p.hidden.detach().to(torch::kBFloat16);
  const LossSum loss = ChunkedCrossEntropy(hidden, p.head, p.labels, 5);
  EXPECT_EQ(loss.sum.scalar_type(), torch::kFloat32);
  loss.sum.backward();
  EXPECT_EQ(p.head.grad().scalar_type(), torch::kFloat32);
  const double error = (p.head.grad() - expected[0]).norm().item<double>();
  EXPECT_LT(error / expected[0].norm().item<double>(), 0.02);
}

TEST(ChunkedCrossEntropyTest, FirstLabelOfARowIsNoTarget) {
  const torch::Tensor labels = torch::tensor({{5, 6, -100, 7}, {1, 2, 3, 4}}, torch::kInt64);
  EXPECT_EQ(CountTargets(labels), 5);
}

TEST(ChunkedCrossEntropyTest, NoTargetGivesZeroLossAndZeroGradients) {
  Problem p = RandomProblem(torch::kFloat32);
  p.labels.fill_(kIgnoreLabel);
  const LossSum loss = ChunkedCrossEntropy(p.hidden, p.head, p.labels);
  EXPECT_EQ(loss.targets, 0);
  EXPECT_EQ(loss.sum.item<float>(), 0.0f);
  loss.sum.backward();
  EXPECT_EQ(p.hidden.grad().abs().sum().item<float>(), 0.0f);
}

TEST(ChunkedCrossEntropyTest, EvaluationWithoutGradientsGivesTheSameSum) {
  const Problem p = RandomProblem(torch::kFloat64);
  const double with_grad = ChunkedCrossEntropy(p.hidden, p.head, p.labels, 5).sum.item<double>();
  const torch::NoGradGuard no_grad;
  EXPECT_EQ(ChunkedCrossEntropy(p.hidden, p.head, p.labels, 5).sum.item<double>(), with_grad);
}

TEST(ChunkedCrossEntropyTest, LogitsOfAllTokensNeverExist) {
  const int64_t rows = 2, tokens = 64, vocabulary = 100, chunk = 8;
  Problem p = RandomProblem(torch::kFloat32, rows, tokens, vocabulary);
  int64_t largest = 0;
  static thread_local int64_t* seen = nullptr;
  seen = &largest;
  const auto watch = at::addThreadLocalCallback(
      at::RecordFunctionCallback(
          [](const at::RecordFunction&) -> std::unique_ptr<at::ObserverContext> { return nullptr; },
          [](const at::RecordFunction& fn, at::ObserverContext*) {
            for (const c10::IValue& value : fn.outputs()) {
              if (value.isTensor()) *seen = std::max(*seen, value.toTensor().numel());
            }
          })
          .needsOutputs(true)
          .scopes({at::RecordScope::FUNCTION, at::RecordScope::BACKWARD_FUNCTION}));
  ChunkedCrossEntropy(p.hidden, p.head, p.labels, chunk).sum.backward();
  at::removeCallback(watch);
  EXPECT_GE(largest, chunk * vocabulary);  // the watch works
  EXPECT_LE(largest, std::max(chunk * vocabulary, rows * tokens * 8));
}

}  // namespace
}  // namespace longlora::trainer
