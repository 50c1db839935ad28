// Goal: decoding with the cache of keys and values gives what a whole forward pass a token gives,
// for every way to share key/value heads and every family's layers. Method: tiny random models in
// fp64, with adapters that do something; hidden states compared, and tokens. Against transformers'
// generate: tests/parity.
#include "worker/trainer/model/greedy_decode.h"

#include <gtest/gtest.h>

#include <memory>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include "tests/worker/trainer/model/tiny_llama.h"
#include "worker/trainer/model/kv_cache.h"

namespace longlora::trainer {
namespace {

using torch::Tensor;

constexpr int64_t kPrompt = 17;
constexpr int64_t kNew = 8;

// Stands for LoRA, which is not part of model/.
class Doubling : public LinearAdapter {
 public:
  Tensor AddTo(const Tensor& y, const Tensor& x) const override {
    return y * 2.0 + x.mean(-1, /*keepdim=*/true);
  }
  std::vector<Tensor> parameters() const override { return {}; }
};

struct Case {
  std::string name;
  void (*change)(common::ModelConfig& config);
};

void PrintTo(const Case& c, std::ostream* out) { *out << c.name; }

class GreedyDecodeTest : public ::testing::TestWithParam<Case> {
 protected:
  GreedyDecodeTest() {
    MakeModel(torch::kFloat64);
    const Tensor ids = RandomInput(model_->config(), 1, kPrompt, {}).input_ids;
    prompt_.assign(ids.data_ptr<int64_t>(), ids.data_ptr<int64_t>() + kPrompt);
  }

  void MakeModel(torch::ScalarType dtype) {
    common::ModelConfig config = TinyConfig();
    GetParam().change(config);
    ModelOptions options;
    options.dtype = dtype;
    options.rope = config.rope;
    options.train_embedding = options.train_norms = true;
    model_ = *LlamaModel::Create(config, RandomWeights(config), options);
  }

  // Final hidden state of the last of `ids`, by one pass over all of them: [E].
  Tensor Whole(const std::vector<int64_t>& ids) const {
    const torch::NoGradGuard no_grad;
    const auto length = static_cast<int64_t>(ids.size());
    const ModelInput input = {torch::tensor(ids).unsqueeze(0),
                              torch::arange(length).unsqueeze(0),
                              {DenseSegments({0, length})}};
    return model_->Forward(input, /*checkpoint_activations=*/false)[0][-1];
  }

  std::vector<int64_t> DecodedWithoutCache() const {
    std::vector<int64_t> text = prompt_;
    for (int64_t i = 0; i < kNew; ++i) {
      text.push_back(Whole(text).matmul(model_->lm_head().t()).argmax().item<int64_t>());
    }
    return {text.begin() + kPrompt, text.end()};
  }

  std::unique_ptr<LlamaModel> model_;
  std::vector<int64_t> prompt_;
};

TEST_P(GreedyDecodeTest, TheCacheGivesTheHiddenStatesOfAWholePass) {
  const torch::NoGradGuard no_grad;
  KvCache cache(model_->config(), kPrompt + kNew, torch::dtype(torch::kFloat64));
  std::vector<int64_t> text = prompt_;
  Tensor hidden = model_->Extend(torch::tensor(text).unsqueeze(0), cache);
  for (int64_t i = 0;; ++i) {
    EXPECT_EQ(cache.length(), kPrompt + i);
    EXPECT_TRUE(torch::allclose(hidden[0], Whole(text), 1e-10, 1e-12)) << "token " << i;
    if (i == kNew) break;
    text.push_back((7 * i + 3) % model_->config().vocab_size);
    hidden = model_->Extend(torch::tensor({{text.back()}}), cache);
  }
}

TEST_P(GreedyDecodeTest, TokensAreThoseOfAWholePassEach) {
  EXPECT_EQ(GreedyDecode(*model_, prompt_, kNew), DecodedWithoutCache());
  prompt_.resize(1);
  EXPECT_EQ(GreedyDecode(*model_, prompt_, 1).size(), 1u);
}

// Other kernels compute one token than many, so bf16 rounds otherwise; fp32 hardly.
TEST_P(GreedyDecodeTest, TheComputeTypesOfARunDifferByRoundingAlone) {
  const torch::NoGradGuard no_grad;
  for (const auto& [dtype, bound] : {std::pair(torch::kFloat32, 1e-5), {torch::kBFloat16, 0.03}}) {
    MakeModel(dtype);
    KvCache cache(model_->config(), kPrompt + 1, torch::dtype(dtype));
    std::vector<int64_t> text = prompt_;
    model_->Extend(torch::tensor(text).unsqueeze(0), cache);
    text.push_back(5);
    const Tensor hidden = model_->Extend(torch::tensor({{int64_t{5}}}), cache)[0];
    EXPECT_EQ(hidden.scalar_type(), dtype);
    const Tensor whole = Whole(text);
    EXPECT_LT((hidden - whole).norm().item<double>(), bound * whole.norm().item<double>()) << dtype;
    EXPECT_EQ(GreedyDecode(*model_, prompt_, kNew).size(), static_cast<size_t>(kNew));
  }
}

TEST_P(GreedyDecodeTest, AdaptersAreApplied) {
  const std::vector<int64_t> plain = GreedyDecode(*model_, prompt_, kNew);
  for (Linear* linear : model_->linears()) linear->adapter = std::make_shared<Doubling>();
  const std::vector<int64_t> adapted = GreedyDecode(*model_, prompt_, kNew);
  EXPECT_EQ(adapted, DecodedWithoutCache());
  EXPECT_NE(adapted, plain);
}

INSTANTIATE_TEST_SUITE_P(
    Models, GreedyDecodeTest,
    ::testing::Values(Case{"GroupedQueries", [](common::ModelConfig&) {}},
                      Case{"AHeadEach", [](common::ModelConfig& c) { c.num_kv_heads = 6; }},
                      Case{"OneHeadForAll", [](common::ModelConfig& c) { c.num_kv_heads = 1; }},
                      Case{"TiedLinear",
                           [](common::ModelConfig& c) {
                             c.tie_word_embeddings = true;
                             c.rope.kind = common::RotaryKind::kLinear;
                             c.rope.factor = 4.0;
                           }},
                      Case{"Qwen2", [](common::ModelConfig& c) { c.qkv_bias = true; }},
                      Case{"Qwen3Yarn",
                           [](common::ModelConfig& c) {
                             c.head_norms = true;
                             c.rope.kind = common::RotaryKind::kYarn;
                             c.rope.factor = 2.0;
                             c.rope.original_length = 16;
                           }},
                      Case{"Phi3",
                           [](common::ModelConfig& c) {
                             c.fused = true;
                             c.rope.partial_factor = 0.5;
                           }}),
    [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace longlora::trainer
