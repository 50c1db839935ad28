// Goal: attention over segments is the method's, in values and gradients, and never looks ahead.
// Method: an oracle that writes the rule "i sees j" out for every pair of tokens and head,
// independent of the production code's borders, runs and pieces; and perturbation of later tokens.
#include "worker/trainer/attention/segment_attention.h"

#include <gtest/gtest.h>

#include <cmath>
#include <ostream>
#include <string>
#include <vector>

#include "worker/trainer/attention/composed_attention.h"
#include "worker/trainer/torch.h"

namespace longlora::trainer {
namespace {

struct Case {
  std::string name;
  int64_t heads, kv_heads, length, group;            // group 0: dense
  std::vector<std::vector<int64_t>> documents = {};  // per row; empty: one document a row
  int64_t rows = 1;
};

void PrintTo(const Case& c, std::ostream* out) { *out << c.name; }

std::vector<int64_t> DocumentsOf(const Case& c, int64_t row) {
  if (c.documents.empty()) return {c.length};
  return c.documents[c.documents.size() == 1 ? 0 : row];
}

// [B, H, T, T] of 0 and -infinity.
torch::Tensor Visibility(const Case& c, torch::ScalarType dtype) {
  torch::Tensor mask = torch::full({c.rows, c.heads, c.length, c.length}, -INFINITY, dtype);
  for (int64_t row = 0; row < c.rows; ++row) {
    std::vector<int64_t> document;
    const std::vector<int64_t> lengths = DocumentsOf(c, row);
    for (size_t d = 0; d < lengths.size(); ++d) document.insert(document.end(), lengths[d], d);
    for (int64_t head = 0; head < c.heads; ++head) {
      const int64_t shift = head < c.heads / 2 ? 0 : c.group / 2;
      const auto group = [&](int64_t i) { return c.group == 0 ? 0 : (i + shift) / c.group; };
      for (int64_t i = 0; i < c.length; ++i) {
        for (int64_t j = 0; j <= i; ++j) {
          if (document[i] == document[j] && group(i) == group(j)) mask[row][head][i][j] = 0.0;
        }
      }
    }
  }
  return mask;
}

torch::Tensor Oracle(const Case& c, const torch::Tensor& q, const torch::Tensor& k,
                     const torch::Tensor& v) {
  const int64_t share = c.heads / c.kv_heads;
  const torch::Tensor k_all = k.repeat_interleave(share, 1), v_all = v.repeat_interleave(share, 1);
  const torch::Tensor scores =
      q.matmul(k_all.transpose(2, 3)) / std::sqrt(static_cast<double>(q.size(3)));
  return (scores + Visibility(c, q.scalar_type())).softmax(-1).matmul(v_all);
}

std::vector<RowSegments> SegmentsOf(const Case& c) {
  std::vector<RowSegments> segments;
  const int64_t entries = c.documents.size() > 1 ? c.rows : 1;
  for (int64_t row = 0; row < entries; ++row) {
    Borders documents = {0};
    for (const int64_t length : DocumentsOf(c, row)) documents.push_back(documents.back() + length);
    segments.push_back(c.group == 0 ? DenseSegments(documents)
                                    : ShiftedSparseSegments(documents, c.group));
  }
  return segments;
}

struct Inputs {
  torch::Tensor q, k, v;
};

// As the model passes them: transposed views of [B, T, H, D].
Inputs RandomInputs(const Case& c, torch::ScalarType dtype) {
  torch::manual_seed(7);
  const auto make = [&](int64_t heads) {
    return torch::randn({c.rows, c.length, heads, 16}, dtype).transpose(1, 2).requires_grad_();
  };
  return {make(c.heads), make(c.kv_heads), make(c.kv_heads)};
}

double LargestDifference(const torch::Tensor& a, const torch::Tensor& b) {
  return (a - b).abs().max().item<double>();
}

class SegmentAttentionTest : public ::testing::TestWithParam<Case> {};

// Values and gradients of `attention`, in fp64 and fp32.
void ExpectTheOracle(const Case& c, decltype(SegmentAttention)& attention) {
  for (const auto& [dtype, tolerance] :
       {std::pair(torch::kFloat64, 1e-12), std::pair(torch::kFloat32, 1e-5)}) {
    const Inputs in = RandomInputs(c, dtype);
    const torch::Tensor expected = Oracle(c, in.q, in.k, in.v);
    const torch::Tensor actual = attention(in.q, in.k, in.v, SegmentsOf(c));
    ASSERT_EQ(actual.sizes(), expected.sizes());
    EXPECT_LT(LargestDifference(actual, expected), tolerance);

    const torch::Tensor weight = torch::randn_like(expected);
    const auto expected_grads = torch::autograd::grad({expected}, {in.q, in.k, in.v}, {weight});
    const auto actual_grads = torch::autograd::grad({actual}, {in.q, in.k, in.v}, {weight});
    for (size_t i = 0; i < expected_grads.size(); ++i) {
      EXPECT_LT(LargestDifference(actual_grads[i], expected_grads[i]), 10 * tolerance)
          << "gradient of " << "qkv"[i];
    }
  }
}

TEST_P(SegmentAttentionTest, EqualsTheExplicitMaskForwardAndBackward) {
  ExpectTheOracle(GetParam(), SegmentAttention);
}

TEST_P(SegmentAttentionTest, ComposedOfPlainOperationsItIsTheSame) {
  ExpectTheOracle(GetParam(), ComposedAttention);
}

TEST_P(SegmentAttentionTest, NothingDependsOnALaterToken) {
  const Case& c = GetParam();
  const Inputs in = RandomInputs(c, torch::kFloat64);
  const auto run = [&](const Inputs& inputs) {
    torch::NoGradGuard no_grad;
    return SegmentAttention(inputs.q, inputs.k, inputs.v, SegmentsOf(c));
  };
  const torch::Tensor before = run(in);
  for (const int64_t changed : {c.length - 1, c.length / 2, c.length / 4}) {
    torch::NoGradGuard no_grad;
    Inputs other = {in.q.clone(), in.k.clone(), in.v.clone()};
    for (torch::Tensor* t : {&other.q, &other.k, &other.v}) t->slice(2, changed).add_(1.0);
    const torch::Tensor after = run(other);
    EXPECT_TRUE(torch::equal(before.slice(2, 0, changed), after.slice(2, 0, changed)));
    EXPECT_FALSE(torch::equal(before.slice(2, changed), after.slice(2, changed)));
  }
  // Backward: outputs up to a token send no gradient to any token after it.
  const int64_t last = c.length / 2;
  const torch::Tensor early = SegmentAttention(in.q, in.k, in.v, SegmentsOf(c)).slice(2, 0, last);
  for (const torch::Tensor& grad : torch::autograd::grad({early.sum()}, {in.q, in.k, in.v})) {
    EXPECT_EQ(grad.slice(2, last).abs().sum().item<double>(), 0.0);
  }
}

INSTANTIATE_TEST_SUITE_P(
    Patterns, SegmentAttentionTest,
    ::testing::Values(
        Case{"MultiHead", 4, 4, 32, 8}, Case{"GroupedQuery", 8, 4, 32, 8},
        Case{"MultiQuery", 4, 1, 32, 8}, Case{"OddHeadsOfThreeKeyValueHeads", 9, 3, 32, 8},
        Case{"OddMultiQuery", 5, 1, 24, 8}, Case{"OddMultiHead", 3, 3, 32, 8},
        Case{"OneHeadIsShifted", 1, 1, 32, 8}, Case{"OddKeyValueHeads", 6, 3, 32, 8},
        Case{"LengthNotAMultiple", 8, 2, 45, 8}, Case{"LengthWithinOneHalfGroup", 4, 2, 5, 16},
        Case{"GroupIsTheRow", 4, 2, 32, 32}, Case{"SmallestGroup", 4, 2, 9, 2},
        Case{"LongerThanAKernelBlock", 4, 2, 700, 300},
        Case{"Documents", 8, 4, 40, 8, {{7, 1, 20, 12}}},
        Case{"DocumentsOnGroupBorders", 8, 4, 32, 8, {{8, 16, 4, 4}}},
        Case{"DenseDocuments", 6, 2, 33, 0, {{5, 17, 11}}}, Case{"DenseRow", 4, 2, 33, 0},
        Case{"EqualRows", 8, 4, 32, 8, {}, 3}, Case{"EqualOddRows", 9, 3, 45, 8, {}, 2},
        Case{"EqualRowsOfDocuments", 6, 2, 40, 8, {{16, 16, 8}}, 2},
        Case{"UnequalRows", 6, 3, 40, 8, {{13, 27}, {40}, {1, 39}}, 3},
        Case{"UnequalDenseRows", 6, 3, 24, 0, {{13, 11}, {24}}, 2}),
    [](const auto& info) { return info.param.name; });

TEST(SegmentAttentionLayoutTest, AcceptsInputsAndGradientsOfAnyLayout) {
  const Case c{"", 6, 3, 24, 8, {}, 2};
  const Inputs in = RandomInputs(c, torch::kFloat64);
  const auto run = [&](const Inputs& inputs) {
    const torch::Tensor out = SegmentAttention(inputs.q, inputs.k, inputs.v, SegmentsOf(c));
    // sum() sends an expanded gradient whose strides are all 0.
    return torch::autograd::grad({out.sum()}, {inputs.q, inputs.k, inputs.v});
  };
  const auto contiguous = [](const torch::Tensor& t) {
    return t.detach().contiguous().requires_grad_();
  };
  const auto expected = run(in);
  const auto actual = run({contiguous(in.q), contiguous(in.k), contiguous(in.v)});
  for (size_t i = 0; i < expected.size(); ++i) {
    EXPECT_LT(LargestDifference(actual[i], expected[i]), 1e-12);
  }
}

TEST(SegmentAttentionShapeTest, BordersThatMissTheRowsEndAreRefused) {
  const torch::Tensor q = torch::zeros({1, 2, 8, 16});
  EXPECT_THROW(SegmentAttention(q, q, q, {DenseSegments({0, 7})}), c10::Error);
  EXPECT_THROW(SegmentAttention(q, q, q, {DenseSegments({0, 4, 4, 8})}), c10::Error);
  EXPECT_THROW(SegmentAttention(q, q, q, {}), c10::Error);
}

}  // namespace
}  // namespace longlora::trainer
