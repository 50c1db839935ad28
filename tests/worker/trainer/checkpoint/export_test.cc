// Goal: what a job trained comes out of our files as it went in, foreign adapters are taken or
// refused for the reason they deserve, and nothing that cannot be used is written. Method: a base
// model of two tiny matrices. That peft and transformers load the files and compute the same is in
// adapter_test.py.
#include <limits>
#include <nlohmann/json.hpp>
#include <string>

#include "common/io/files.h"
#include "gmock/gmock.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temporary_directory.h"
#include "worker/trainer/checkpoint/adapter_export.h"
#include "worker/trainer/checkpoint/adapter_import.h"
#include "worker/trainer/checkpoint/merged_export.h"
#include "worker/trainer/torch.h"

namespace longlora::trainer {
namespace {

using ::longlora::testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using Json = nlohmann::json;

constexpr char kModule[] = "model.layers.0.self_attn.q_proj";
constexpr char kEmbedding[] = "model.embed_tokens.weight";
constexpr char kNorm[] = "model.norm.weight";

class ExportTest : public ::testing::Test {
 protected:
  ExportTest() {
    torch::manual_seed(3);
    adapter_.weights.lora[kModule] = {torch::randn({2, 4}), torch::randn({6, 2})};
    adapter_.weights.trained = {{kEmbedding, torch::randn({5, 4})}, {kNorm, torch::randn({4})}};
    adapter_.rank = 2;
    adapter_.alpha = 4;
    adapter_.target_modules = {"q_proj"};
    adapter_.card.base_model = "base";
    adapter_.rope = {
        .type = "linear", .theta = 500.0, .factor = 2.0, .max_position_embeddings = 64};
    shape_.lora[kModule] = {.in_features = 4, .out_features = 6};
    shape_.trained = {{kEmbedding, {5, 4}}, {kNorm, {4}}};
    shape_.rank = 2;
    shape_.alpha = 4;
  }

  std::string out() const { return directory_ / "adapter"; }
  Json Config() {
    auto text = common::ReadFile(out() + "/adapter_config.json", 1 << 20);
    EXPECT_OK(text);
    return Json::parse(*text);
  }
  // Changes one setting of the exported adapter_config.json.
  void Set(const char* key, const Json& value) {
    Json config = Config();
    config[key] = value;
    ASSERT_OK(common::AtomicWriteFile(out() + "/adapter_config.json", config.dump()));
  }
  // Rewrites the exported tensors.
  void Edit(const std::function<void(TensorMap&)>& edit) {
    const std::string path = out() + "/adapter_model.safetensors";
    TensorMap tensors;
    {
      auto file = SafetensorsFile::Open(path);
      ASSERT_OK(file);
      for (const auto& [name, entry] : file->entries()) tensors[name] = file->Get(name)->clone();
    }
    edit(tensors);
    ASSERT_OK(WriteSafetensors(path, tensors, {}));
  }

  testing::TemporaryDirectory directory_;
  AdapterExport adapter_;
  AdapterShape shape_;
};

TEST_F(ExportTest, AnExportedAdapterIsImportedBitForBit) {
  for (const bool tied : {false, true}) {
    adapter_.tie_word_embeddings = shape_.tie_word_embeddings = tied;
    ASSERT_OK(ExportAdapter(adapter_, out()));
    ASSERT_OK_AND_ASSIGN(const ImportedAdapter imported, ImportAdapter(out(), shape_));
    EXPECT_TRUE(
        at::equal(imported.weights.lora.at(kModule).a, adapter_.weights.lora.at(kModule).a));
    EXPECT_TRUE(
        at::equal(imported.weights.lora.at(kModule).b, adapter_.weights.lora.at(kModule).b));
    ASSERT_EQ(imported.weights.trained.size(), 2u);
    EXPECT_TRUE(at::equal(imported.weights.trained.at(kEmbedding),
                          adapter_.weights.trained.at(kEmbedding)));
    EXPECT_TRUE(imported.left_to_base.empty());
  }
}

TEST_F(ExportTest, OnlyTiedModelsListTheirHead) {
  ASSERT_OK(ExportAdapter(adapter_, out()));
  EXPECT_EQ(Config()["modules_to_save"], Json({"embed_tokens", "norm"}));
  adapter_.tie_word_embeddings = true;
  ASSERT_OK(ExportAdapter(adapter_, out()));
  EXPECT_EQ(Config()["modules_to_save"], Json({"embed_tokens", "lm_head", "norm"}));
  adapter_.weights.trained.clear();
  ASSERT_OK(ExportAdapter(adapter_, out()));
  EXPECT_EQ(Config()["modules_to_save"], Json(nullptr));
}

TEST_F(ExportTest, TheFolderTellsTheRopeScaling) {
  ASSERT_OK(ExportAdapter(adapter_, out()));
  ASSERT_OK_AND_ASSIGN(const std::string text,
                       common::ReadFile(out() + "/rope_scaling.json", 1 << 20));
  const Json rope = Json::parse(text);
  EXPECT_EQ(rope["rope_parameters"],
            Json({{"rope_type", "linear"}, {"rope_theta", 500.0}, {"factor", 2.0}}));
  EXPECT_EQ(rope["rope_scaling"], Json({{"type", "linear"}, {"factor", 2.0}}));
  EXPECT_EQ(rope["max_position_embeddings"], 64);
  ASSERT_OK_AND_ASSIGN(const std::string card, common::ReadFile(out() + "/README.md", 1 << 20));
  EXPECT_THAT(card, HasSubstr("base_model: \"base\""));
}

TEST_F(ExportTest, UnusableWeightsReplaceNothing) {
  ASSERT_OK(ExportAdapter(adapter_, out()));
  adapter_.weights.trained[kNorm] = torch::full({4}, std::numeric_limits<float>::infinity());
  EXPECT_THAT(ExportAdapter(adapter_, out()),
              StatusIs(absl::StatusCode::kDataLoss, "holds a NaN or an infinity"));
  adapter_.weights.trained[kNorm] = torch::ones({0});
  EXPECT_THAT(ExportAdapter(adapter_, out()), StatusIs(absl::StatusCode::kDataLoss, "is empty"));
  EXPECT_OK(ImportAdapter(out(), shape_));
  ASSERT_OK_AND_ASSIGN(const auto files, common::ListFiles(directory_.path()));
  EXPECT_EQ(files.size(), 4u);  // nothing staged is left
}

TEST_F(ExportTest, EveryTensorThatDoesNotFitIsNamed) {
  ASSERT_OK(ExportAdapter(adapter_, out()));
  Edit([](TensorMap& tensors) {
    tensors.erase("base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight");
    tensors["base_model.model.model.norm.weight"] = torch::ones({7});
    tensors["base_model.model.model.layers.0.self_attn.k_proj.lora_A.weight"] = torch::ones({2, 4});
    tensors["base_model.model.lm_head.weight"] = torch::ones({5, 4});
  });
  const auto imported = ImportAdapter(out(), shape_);
  for (const char* problem :
       {"missing tensor \"base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight\"",
        "tensor \"base_model.model.model.norm.weight\" has shape [7], the job needs [4]",
        "unexpected tensor \"base_model.model.model.layers.0.self_attn.k_proj.lora_A.weight\": the "
        "job does not "
        "train it (method.lora.target_modules would have to name it)",
        "unexpected tensor \"base_model.model.lm_head.weight\""}) {
    EXPECT_THAT(imported, StatusIs(absl::StatusCode::kInvalidArgument, problem));
  }
}

TEST_F(ExportTest, SettingsThatMeanSomethingElseAreRefused) {
  ASSERT_OK(ExportAdapter(adapter_, out()));
  const auto expect = [&](const char* key, const Json& value, const std::string& reason) {
    const Json before = Config()[key];
    Set(key, value);
    EXPECT_THAT(ImportAdapter(out(), shape_), StatusIs(absl::StatusCode::kInvalidArgument, reason))
        << key;
    Set(key, before);
  };
  expect("peft_type", "IA3", "peft_type is not LORA");
  expect("use_dora", true, "use_dora is set");
  expect("use_rslora", true, "set method.lora.use_rslora to true");
  expect("rank_pattern", {{"q_proj", 4}}, "rank_pattern is set");
  expect("bias", "all", "bias is not \"none\"");
  expect("r", 8, "set method.lora.rank to 8");
  expect("lora_alpha", 32, "set method.lora.alpha to 32");
  EXPECT_OK(ImportAdapter(out(), shape_));
  ASSERT_OK(common::AtomicWriteFile(out() + "/adapter_config.json", "no"));
  EXPECT_THAT(ImportAdapter(out(), shape_),
              StatusIs(absl::StatusCode::kInvalidArgument, "not a JSON object"));
  EXPECT_THAT(ImportAdapter(directory_ / "absent", shape_),
              StatusIs(absl::StatusCode::kNotFound, "adapter_config"));
}

TEST_F(ExportTest, WhatAnAdapterNeverTrainedStartsFromTheBase) {
  adapter_.weights.trained.clear();
  ASSERT_OK(ExportAdapter(adapter_, out()));
  ASSERT_OK_AND_ASSIGN(const ImportedAdapter imported, ImportAdapter(out(), shape_));
  EXPECT_THAT(imported.left_to_base, ElementsAre(kEmbedding, kNorm));
  // But what its settings promise must be there.
  Set("modules_to_save", {"norm"});
  EXPECT_THAT(ImportAdapter(out(), shape_),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       "missing tensor \"base_model.model.model.norm.weight\""));
}

TEST_F(ExportTest, ATiedHeadMustEqualItsEmbedding) {
  adapter_.tie_word_embeddings = shape_.tie_word_embeddings = true;
  ASSERT_OK(ExportAdapter(adapter_, out()));
  Edit([](TensorMap& tensors) { tensors["base_model.model.lm_head.weight"] += 1; });
  EXPECT_THAT(ImportAdapter(out(), shape_),
              StatusIs(absl::StatusCode::kInvalidArgument, "but the base model ties the two"));
}

class MergedExportTest : public ExportTest {
 protected:
  MergedExportTest() {
    base_ = {{std::string(kModule) + ".weight", torch::randn({6, 4}).to(at::kBFloat16)},
             {kEmbedding, torch::randn({5, 4}).to(at::kBFloat16)},
             {kNorm, torch::randn({4}).to(at::kBFloat16)},
             {"model.layers.0.mlp.up_proj.weight", torch::randn({3, 4}).to(at::kBFloat16)},
             {"lm_head.weight", torch::randn({5, 4}).to(at::kBFloat16)}};
    EXPECT_OK(common::CreateDirectories(directory_ / "base"));
    EXPECT_OK(WriteSafetensors(directory_ / "base/model.safetensors", base_, {}));
    EXPECT_OK(
        common::AtomicWriteFile(directory_ / "base/config.json",
                                R"({"z": 1, "rope_theta": 1.0, "rope_scaling": null, "a": 2})"));
    EXPECT_OK(common::AtomicWriteFile(directory_ / "base/tokenizer.json", "tokens"));
    merged_.base_directory = directory_ / "base";
    merged_.weights = adapter_.weights;
    merged_.scale = 2.0;
    merged_.rope = adapter_.rope;
    merged_.rope.original_max_position_embeddings = 32;
  }

  // Every tensor of the written model against the definition.
  void ExpectMerged(bool tied) {
    const auto written = SafetensorsDirectory::Open(directory_ / "merged");
    ASSERT_OK(written);
    ASSERT_EQ(written->names().size(), base_.size());
    for (const auto& [name, base] : base_) {
      at::Tensor expected = base;
      if (merged_.weights.trained.count(name)) {
        expected = merged_.weights.trained.at(name).to(at::kBFloat16);
      } else if (name == std::string(kModule) + ".weight") {
        const LoraPair& pair = merged_.weights.lora.at(kModule);
        expected = (base.to(at::kFloat) + 2.0 * at::mm(pair.b, pair.a)).to(at::kBFloat16);
      } else if (tied && name == "lm_head.weight") {
        expected = merged_.weights.trained.at(kEmbedding).to(at::kBFloat16);
      }
      EXPECT_TRUE(at::allclose(*written->Get(name), expected, 1e-2, 1e-6)) << name;
      EXPECT_EQ(written->Get(name)->scalar_type(), at::kBFloat16);
    }
  }

  TensorMap base_;
  MergedExport merged_;
};

TEST_F(MergedExportTest, WeightsAreMergedAndTheRestIsCopied) {
  ASSERT_OK(ExportMerged(merged_, directory_ / "merged"));
  ExpectMerged(/*tied=*/false);
  EXPECT_EQ(*common::ReadFile(directory_ / "merged/tokenizer.json", 100), "tokens");
  ASSERT_OK_AND_ASSIGN(const std::string text,
                       common::ReadFile(directory_ / "merged/config.json", 1 << 20));
  const auto config = nlohmann::ordered_json::parse(text);
  EXPECT_EQ(config.begin().key(), "z");  // its order is the base's
  EXPECT_EQ(config["rope_theta"], 500.0);
  EXPECT_EQ(Json(config["rope_scaling"]), Json({{"type", "linear"}, {"factor", 2.0}}));
  EXPECT_EQ(config["rope_parameters"]["original_max_position_embeddings"], 32);
  EXPECT_EQ(config["max_position_embeddings"], 64);
}

TEST_F(MergedExportTest, ATiedHeadThatIsListedFollowsTheEmbedding) {
  merged_.tie_word_embeddings = true;
  ASSERT_OK(ExportMerged(merged_, directory_ / "merged"));
  ExpectMerged(/*tied=*/true);
}

TEST_F(MergedExportTest, LargeModelsAreSharded) {
  merged_.shard_bytes_max = 60;
  ASSERT_OK(ExportMerged(merged_, directory_ / "merged"));
  ExpectMerged(/*tied=*/false);
  ASSERT_OK_AND_ASSIGN(const auto files, common::ListFiles(directory_ / "merged"));
  EXPECT_THAT(files,
              ElementsAre("README.md", "config.json", "model-00001-of-00004.safetensors",
                          "model-00002-of-00004.safetensors", "model-00003-of-00004.safetensors",
                          "model-00004-of-00004.safetensors", "model.safetensors.index.json",
                          "tokenizer.json"));
}

TEST_F(MergedExportTest, WeightsWithoutAPlaceInTheBaseAreRefused) {
  const LoraWeights weights = merged_.weights;
  merged_.weights.lora["model.layers.9.self_attn.q_proj"] = weights.lora.at(kModule);
  EXPECT_THAT(ExportMerged(merged_, directory_ / "merged"),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       "no \"model.layers.9.self_attn.q_proj.weight\""));
  merged_.weights = weights;
  merged_.weights.trained["model.layers.9.input_layernorm.weight"] = torch::ones({4});
  EXPECT_THAT(
      ExportMerged(merged_, directory_ / "merged"),
      StatusIs(absl::StatusCode::kInvalidArgument, "no \"model.layers.9.input_layernorm.weight\""));
  merged_.weights = weights;
  merged_.weights.lora[kModule].a = torch::ones({2, 5});
  EXPECT_THAT(ExportMerged(merged_, directory_ / "merged"),
              StatusIs(absl::StatusCode::kInvalidArgument, "does not fit its weight"));
  merged_.weights = weights;
  merged_.weights.trained[kNorm] = torch::ones({5});
  EXPECT_THAT(ExportMerged(merged_, directory_ / "merged"),
              StatusIs(absl::StatusCode::kInvalidArgument, "another shape than the base's"));
}

}  // namespace
}  // namespace longlora::trainer
