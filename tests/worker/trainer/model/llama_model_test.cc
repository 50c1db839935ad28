// Goal: the whole model looks at no later token, keeps documents apart, gives the same gradients
// with and without checkpointing, and takes exactly the tensors its config names. Method:
// perturbation of a tiny random Llama in fp64. Values are compared with transformers in
// tests/parity.
#include "worker/trainer/model/llama_model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ostream>
#include <string>

#include "tests/testing/status_matchers.h"
#include "tests/worker/trainer/model/tiny_llama.h"
#include "worker/trainer/torch.h"

namespace longlora::trainer {
namespace {

using ::longlora::testing::StatusIs;

std::unique_ptr<LlamaModel> MakeModel(torch::ScalarType dtype = torch::kFloat64,
                                      const common::ModelConfig& config = TinyConfig()) {
  ModelOptions options;
  options.dtype = dtype;
  options.train_embedding = options.train_norms = true;
  return *LlamaModel::Create(config, RandomWeights(config), options);
}

struct Pattern {
  std::string name;
  RowSegments segments;
};

void PrintTo(const Pattern& pattern, std::ostream* out) { *out << pattern.name; }

class CausalityTest : public ::testing::TestWithParam<Pattern> {};

TEST_P(CausalityTest, NoOutputOrGradientDependsOnALaterToken) {
  const auto model = MakeModel();
  const ModelInput input = RandomInput(model->config(), 1, 30, GetParam().segments);
  const torch::Tensor before = model->Forward(input, false).detach();
  for (int64_t changed = 1; changed < 30; changed += 4) {
    ModelInput other = input;
    other.input_ids = input.input_ids.clone();
    other.input_ids.slice(1, changed).add_(1).remainder_(model->config().vocab_size);
    const torch::Tensor after = model->Forward(other, false).detach();
    EXPECT_TRUE(torch::equal(after.slice(1, 0, changed), before.slice(1, 0, changed)));
    EXPECT_FALSE(torch::equal(after.slice(1, changed), before.slice(1, changed)));
  }
  // A token that occurs only late must get no gradient from early outputs.
  ModelInput marked = input;
  marked.input_ids = input.input_ids.remainder(40);
  marked.input_ids.slice(1, 15).fill_(45);
  model->Forward(marked, true).slice(1, 0, 15).square().sum().backward();
  const torch::Tensor grad = model->parameters()[0].value.grad();
  EXPECT_EQ(grad[45].abs().sum().item<double>(), 0.0);
  EXPECT_GT(grad.abs().sum().item<double>(), 0.0);
}

INSTANTIATE_TEST_SUITE_P(
    Patterns, CausalityTest,
    ::testing::Values(Pattern{"Dense", DenseSegments({0, 30})},
                      Pattern{"ShiftedSparse", ShiftedSparseSegments({0, 30}, 8)},
                      Pattern{"ShiftedSparseDocuments", ShiftedSparseSegments({0, 11, 30}, 8)}),
    [](const auto& info) { return info.param.name; });

TEST(LlamaModelTest, DocumentsOfARowGiveTheOutputsTheyGiveAlone) {
  const auto model = MakeModel();
  ModelInput row = RandomInput(model->config(), 1, 20, DenseSegments({0, 7, 20}));
  row.position_ids = torch::cat({torch::arange(7), torch::arange(13)}).unsqueeze(0);
  const torch::Tensor together = model->Forward(row, false);
  const ModelInput alone = {
      row.input_ids.slice(1, 7), torch::arange(13).unsqueeze(0), {DenseSegments({0, 13})}};
  EXPECT_TRUE(torch::allclose(together.slice(1, 7), model->Forward(alone, false), 1e-10, 1e-12));
}

TEST(LlamaModelTest, RowsOfAMicroBatchDoNotMix) {
  const auto model = MakeModel();
  const ModelInput both = RandomInput(model->config(), 2, 20, ShiftedSparseSegments({0, 20}, 8));
  const ModelInput second = {both.input_ids.slice(0, 1), both.position_ids.slice(0, 1),
                             both.segments};
  EXPECT_TRUE(torch::allclose(model->Forward(both, false).slice(0, 1),
                              model->Forward(second, false), 1e-10, 1e-12));
}

TEST(LlamaModelTest, CheckpointingChangesNoGradient) {
  const auto model = MakeModel();
  const ModelInput input = RandomInput(model->config(), 2, 20, ShiftedSparseSegments({0, 20}, 8));
  std::vector<torch::Tensor> leaves;
  for (const Parameter& p : model->trained_parameters()) leaves.push_back(p.value);
  const auto grads = [&](bool checkpoint) {
    return torch::autograd::grad({model->Forward(input, checkpoint).square().sum()}, leaves);
  };
  const auto plain = grads(false), checkpointed = grads(true);
  for (size_t i = 0; i < plain.size(); ++i) {
    EXPECT_TRUE(torch::allclose(checkpointed[i], plain[i], 1e-12, 1e-12))
        << model->trained_parameters()[i].name;
  }
}

TEST(LlamaModelTest, PadTokenEmbeddingGetsNoGradientFromInputs) {
  common::ModelConfig config = TinyConfig();
  config.pad_token_id = 3;
  const auto model = MakeModel(torch::kFloat64, config);
  ModelInput input = RandomInput(config, 1, 20, DenseSegments({0, 20}));
  input.input_ids.slice(1, 5, 9).fill_(3);
  model->Forward(input, true).square().sum().backward();
  EXPECT_EQ(model->parameters()[0].value.grad()[3].abs().sum().item<double>(), 0.0);
}

TEST(LlamaModelTest, Bf16ComputesNearFp64AndTrainsFp32Masters) {
  const auto exact = MakeModel(), bf16 = MakeModel(torch::kBFloat16);
  const ModelInput input = RandomInput(exact->config(), 1, 20, ShiftedSparseSegments({0, 20}, 8));
  const torch::Tensor hidden = bf16->Forward(input, true);
  EXPECT_EQ(hidden.scalar_type(), torch::kBFloat16);
  const torch::Tensor expected = exact->Forward(input, false);
  EXPECT_LT((hidden - expected).norm().item<double>() / expected.norm().item<double>(), 0.03);
  hidden.sum().backward();
  for (const Parameter& p : bf16->parameters()) {
    EXPECT_EQ(p.value.scalar_type(), p.value.requires_grad() ? torch::kFloat32 : torch::kBFloat16);
    EXPECT_EQ(p.value.grad().defined(), p.value.requires_grad());
  }
}

TEST(LlamaModelTest, MastersKeepTheFilesFullPrecision) {
  const auto bf16 = MakeModel(torch::kBFloat16);
  const auto weights = RandomWeights(TinyConfig());
  EXPECT_TRUE(torch::equal(bf16->trained_parameters().back().value,
                           weights.at("model.norm.weight").to(torch::kFloat32)));
}

TEST(LlamaModelCreateTest, TensorsThatDoNotFitTheConfigAreRefusedByName) {
  const common::ModelConfig config = TinyConfig();
  const auto create = [&](auto change) {
    auto weights = RandomWeights(config);
    change(weights);
    return LlamaModel::Create(config, weights, {}).status();
  };
  const auto bad = absl::StatusCode::kInvalidArgument;
  EXPECT_OK(create([](auto&) {}));
  EXPECT_OK(create(
      [](auto& w) { w["model.layers.0.self_attn.rotary_emb.inv_freq"] = torch::zeros({4}); }));
  EXPECT_THAT(create([](auto& w) { w.erase("model.layers.1.mlp.up_proj.weight"); }),
              StatusIs(bad, "model.layers.1.mlp.up_proj.weight is missing"));
  EXPECT_THAT(create([](auto& w) { w["model.layers.3.mlp.up_proj.weight"] = torch::zeros({1}); }),
              StatusIs(bad, "model.layers.3.mlp.up_proj.weight is not one"));
  EXPECT_THAT(create([](auto& w) { w["model.norm.weight"] = torch::zeros({25}); }),
              StatusIs(bad, "model.norm.weight has shape [25], config.json asks for [24]"));
  EXPECT_THAT(create([](auto& w) { w["model.norm.weight"] = torch::zeros({24}, torch::kInt64); }),
              StatusIs(bad, "model.norm.weight does not hold floats"));
}

TEST(LlamaModelCreateTest, TiedModelUsesTheEmbeddingAsHeadAndIgnoresARedundantOne) {
  common::ModelConfig config = TinyConfig();
  config.tie_word_embeddings = true;
  auto weights = RandomWeights(config);
  weights["lm_head.weight"] = weights.at("model.embed_tokens.weight") + 1.0;
  const auto model = LlamaModel::Create(config, weights, {});
  ASSERT_OK(model);
  EXPECT_TRUE((*model)->lm_head().is_same((*model)->parameters()[0].value));
}

}  // namespace
}  // namespace longlora::trainer
