// Goal: LoRA starts as the base model, trains exactly what was asked, and merging gives the same
// outputs. Method: a tiny random Llama with and without adapters.
#include "worker/trainer/lora/lora.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "tests/testing/status_matchers.h"
#include "tests/worker/trainer/model/tiny_llama.h"
#include "worker/trainer/torch.h"

namespace longlora::trainer {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

std::unique_ptr<LlamaModel> MakeModel(bool embedding, bool norms, bool tied = false) {
  common::ModelConfig config = TinyConfig();
  config.tie_word_embeddings = tied;
  ModelOptions options;
  options.dtype = torch::kFloat64;
  options.train_embedding = embedding;
  options.train_norms = norms;
  return *LlamaModel::Create(config, RandomWeights(config), options);
}

LoraOptions Attention(int64_t seed = 1) {
  return {.rank = 4, .alpha = 8.0, .target_modules = {"q_proj", "v_proj"}, .seed = seed};
}

torch::Tensor Outputs(const LlamaModel& model) {
  return model.Forward(RandomInput(model.config(), 2, 16, ShiftedSparseSegments({0, 16}, 4)),
                       /*checkpoint_activations=*/true);
}

TEST(LoraTest, FreshModulesChangeNothing) {
  const auto model = MakeModel(false, false);
  const torch::Tensor before = Outputs(*model);
  ASSERT_TRUE(InjectLora(*model, Attention()).ok());
  EXPECT_TRUE(torch::equal(Outputs(*model), before));
}

TEST(LoraTest, EveryTargetOfEveryLayerGetsAModuleOfItsShape) {
  const auto model = MakeModel(false, false);
  const auto modules =
      *InjectLora(*model, {.rank = 4, .alpha = 8.0, .target_modules = {"k_proj", "down_proj"}});
  ASSERT_EQ(modules.size(), 6u);
  EXPECT_EQ(modules[0]->module_name(), "model.layers.0.self_attn.k_proj");
  EXPECT_EQ(modules[0]->a().sizes(), at::IntArrayRef({4, 24}));
  EXPECT_EQ(modules[0]->b().sizes(), at::IntArrayRef({16, 4}));
  EXPECT_EQ(modules[1]->module_name(), "model.layers.0.mlp.down_proj");
  EXPECT_EQ(modules[1]->a().sizes(), at::IntArrayRef({4, 40}));
  EXPECT_EQ(modules[1]->scale(), 2.0);
}

TEST(LoraTest, InitialAIsUniformAsInPeftAndTheSameForTheSameSeed) {
  const auto first = MakeModel(false, false), second = MakeModel(false, false),
             third = MakeModel(false, false);
  const auto a = *InjectLora(*first, Attention(1)), b = *InjectLora(*second, Attention(1)),
             c = *InjectLora(*third, Attention(2));
  const double bound = 1.0 / std::sqrt(24.0);
  double largest = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    EXPECT_TRUE(torch::equal(a[i]->a(), b[i]->a()));
    EXPECT_FALSE(torch::equal(a[i]->a(), c[i]->a()));
    EXPECT_EQ(a[i]->b().abs().sum().item<double>(), 0.0);
    largest = std::max(largest, a[i]->a().abs().max().item<double>());
  }
  EXPECT_LE(largest, bound);
  EXPECT_GT(largest, 0.95 * bound);
  EXPECT_FALSE(torch::equal(a[0]->a(), a[2]->a()));
}

TEST(LoraTest, UnknownTargetIsRefusedWithTheKnownOnes) {
  const auto model = MakeModel(false, false);
  const auto result = InjectLora(*model, {.target_modules = {"q_proj", "query_key_value"}});
  EXPECT_EQ(result.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(result.status().message()),
              AllOf(HasSubstr("query_key_value"), HasSubstr("o_proj")));
}

// Values of B are not zero here, so that A gets gradients too.
void FillB(const std::vector<std::shared_ptr<LoraModule>>& modules) {
  const torch::NoGradGuard no_grad;
  torch::manual_seed(5);
  for (const auto& module : modules) module->b().normal_(0.0, 0.1);
}

std::string ChoiceName(const ::testing::TestParamInfo<std::tuple<bool, bool, bool>>& info) {
  const auto [embedding, norms, tied] = info.param;
  return std::string(embedding ? "Embedding" : "NoEmbedding") + (norms ? "Norms" : "NoNorms") +
         (tied ? "Tied" : "Untied");
}

class TrainableTest : public ::testing::TestWithParam<std::tuple<bool, bool, bool>> {};

TEST_P(TrainableTest, ExactlyTheAskedTensorsGetGradients) {
  const auto [embedding, norms, tied] = GetParam();
  const auto model = MakeModel(embedding, norms, tied);
  const auto modules = *InjectLora(*model, Attention());
  FillB(modules);
  Outputs(*model).square().sum().backward();
  std::set<std::string> trained;
  for (const Parameter& p : TrainedParameters(*model, modules)) {
    trained.insert(p.name);
    ASSERT_TRUE(p.value.grad().defined()) << p.name;
    EXPECT_GT(p.value.grad().abs().sum().item<double>(), 0.0) << p.name;
  }
  EXPECT_EQ(trained.size(), 3 * 2 * 2 + (embedding ? 1 : 0) + (norms ? 7 : 0));
  EXPECT_EQ(trained.count("model.embed_tokens.weight"), embedding ? 1 : 0);
  EXPECT_EQ(trained.count("model.layers.2.self_attn.v_proj.lora_B.weight"), 1u);
  for (const Parameter& p : model->parameters()) {
    EXPECT_EQ(p.value.grad().defined(), trained.count(p.name) == 1) << p.name;
  }
}

INSTANTIATE_TEST_SUITE_P(Choices, TrainableTest,
                         ::testing::Combine(::testing::Bool(), ::testing::Bool(),
                                            ::testing::Bool()),
                         ChoiceName);

TEST(LoraScaleTest, IsAlphaOverTheRankOrItsRoot) {
  EXPECT_EQ(LoraScale(16, 8.0, /*use_rslora=*/false), 0.5);
  EXPECT_EQ(LoraScale(16, 8.0, /*use_rslora=*/true), 2.0);
}

LoraOptions Dropped(double probability) {
  LoraOptions options = Attention();
  options.dropout = probability;
  return options;
}

TEST(LoraDropoutTest, KeptElementsAreScaledAndAboutTheRightShareIsDropped) {
  LoraDropout dropout(0.25, /*job_seed=*/7);
  const torch::Tensor x = torch::ones({100, 400});
  EXPECT_TRUE(dropout.Apply(x, 0).is_same(x)) << "off until Begin";
  dropout.Begin({.step = 1});
  const torch::Tensor y = dropout.Apply(x, 0);
  const torch::Tensor dropped = y.eq(0.0);
  EXPECT_NEAR(dropped.to(torch::kFloat64).mean().item<double>(), 0.25, 0.01);
  EXPECT_TRUE(torch::allclose(y.masked_select(dropped.logical_not()), torch::tensor(1.0F / 0.75F)));
  dropout.End();
  EXPECT_TRUE(dropout.Apply(x, 0).is_same(x));
}

TEST(LoraDropoutTest, EveryPlaceHasItsOwnMaskAndAlwaysTheSame) {
  const torch::Tensor x = torch::ones({20, 50});
  const auto mask = [&](int64_t seed, const DropoutPlace& place, int64_t module) {
    LoraDropout dropout(0.5, seed);
    dropout.Begin(place);
    return dropout.Apply(x, module);
  };
  const std::vector<torch::Tensor> masks = {
      mask(0, {}, 0),          mask(1, {}, 0),
      mask(0, {.step = 1}, 0), mask(0, {.micro_batch = 1}, 0),
      mask(0, {.rank = 1}, 0), mask(0, {}, 1),
  };
  for (size_t i = 0; i < masks.size(); ++i) {
    for (size_t j = 0; j < i; ++j) EXPECT_FALSE(torch::equal(masks[i], masks[j])) << i << " " << j;
  }
  EXPECT_TRUE(torch::equal(mask(0, {.step = 1}, 0), masks[2]));
}

// The reference keeps all activations, so its backward sees the very masks of its forward.
TEST(LoraDropoutTest, RecomputedLayersSeeTheMasksOfTheForward) {
  std::vector<std::vector<torch::Tensor>> gradients;
  for (const bool checkpoint : {false, true}) {
    const auto model = MakeModel(true, true);
    const auto modules = *InjectLora(*model, Dropped(0.5));
    FillB(modules);
    const auto dropout = AddDropout(modules, Dropped(0.5));
    const DropoutScope scope(dropout.get(), {.step = 3, .micro_batch = 1});
    const ModelInput input = RandomInput(model->config(), 2, 16, ShiftedSparseSegments({0, 16}, 4));
    model->Forward(input, checkpoint).square().sum().backward();
    std::vector<torch::Tensor> found;
    for (const Parameter& p : TrainedParameters(*model, modules)) found.push_back(p.value.grad());
    gradients.push_back(found);
  }
  for (size_t i = 0; i < gradients[0].size(); ++i) {
    EXPECT_TRUE(torch::allclose(gradients[0][i], gradients[1][i], 1e-10, 1e-12)) << i;
  }
}

TEST(LoraDropoutTest, OnlyTheAdaptersInputIsDroppedAndOnlyInTraining) {
  const auto model = MakeModel(false, false);
  const auto modules = *InjectLora(*model, Dropped(0.5));
  const auto dropout = AddDropout(modules, Dropped(0.5));
  const torch::Tensor before = Outputs(*model);
  {
    const DropoutScope scope(dropout.get(), {});
    EXPECT_TRUE(torch::equal(Outputs(*model), before))
        << "B is zero, the frozen map is not dropped";
  }
  FillB(modules);
  const torch::Tensor evaluated = Outputs(*model);
  {
    const DropoutScope scope(dropout.get(), {});
    EXPECT_FALSE(torch::equal(Outputs(*model), evaluated));
  }
  EXPECT_TRUE(torch::equal(Outputs(*model), evaluated));
}

TEST(LoraTest, AddingDeltaToTheWeightGivesTheSameOutputs) {
  const auto adapted = MakeModel(false, false), merged = MakeModel(false, false);
  const auto modules = *InjectLora(*adapted, Attention());
  FillB(modules);
  size_t next = 0;
  for (Linear* linear : merged->linears()) {
    if (next < modules.size() && linear->name == modules[next]->module_name()) {
      linear->weight += modules[next++]->Delta();
    }
  }
  ASSERT_EQ(next, modules.size());
  EXPECT_TRUE(torch::allclose(Outputs(*merged), Outputs(*adapted), 1e-10, 1e-12));
}

}  // namespace
}  // namespace longlora::trainer
