// Goal: a config.json is read as transformers reads it, and whatever is broken, lying or not
// computed here is refused by name, never a crash. Method: a valid object with one key changed at a
// time, and truncations of a valid text.
#include "common/base_model/model_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <ostream>

#include "tests/testing/status_matchers.h"

namespace longlora::common {
namespace {

using ::longlora::testing::StatusIs;
using Json = nlohmann::json;

Json Valid() {
  return Json::parse(R"({
    "model_type": "llama", "vocab_size": 49152, "hidden_size": 576, "intermediate_size": 1536,
    "num_hidden_layers": 30, "num_attention_heads": 9, "num_key_value_heads": 3,
    "max_position_embeddings": 8192, "rms_norm_eps": 1e-5, "tie_word_embeddings": true,
    "hidden_act": "silu", "attention_bias": false, "mlp_bias": false, "rope_theta": 100000.0,
    "rope_scaling": null})");
}

TEST(ModelConfigTest, ReadsTheConfigOfSmolLm2) {
  const auto config = ParseModelConfig(Valid().dump());
  ASSERT_OK(config);
  EXPECT_EQ(config->vocab_size, 49152);
  EXPECT_EQ(config->num_layers, 30);
  EXPECT_EQ(config->num_kv_heads, 3);
  EXPECT_EQ(config->head_dim, 64);
  EXPECT_EQ(config->rms_norm_eps, 1e-5);
  EXPECT_TRUE(config->tie_word_embeddings);
  EXPECT_EQ(config->pad_token_id, -1);
  EXPECT_EQ(config->rope, (RotaryConfig{.theta = 100000.0, .factor = 1.0}));
  EXPECT_EQ(config->original_max_position_embeddings, 8192);
}

TEST(ModelConfigTest, AbsentKeysTakeTransformersDefaults) {
  Json json = Valid();
  for (const char* key : {"num_key_value_heads", "rope_theta", "rms_norm_eps", "hidden_act",
                          "tie_word_embeddings", "attention_bias"}) {
    json.erase(key);
  }
  const auto config = ParseModelConfig(json.dump());
  ASSERT_OK(config);
  EXPECT_EQ(config->num_kv_heads, 9);
  EXPECT_EQ(config->rope.theta, 10000.0);
  EXPECT_EQ(config->rms_norm_eps, 1e-6);
  EXPECT_FALSE(config->tie_word_embeddings);
}

TEST(ModelConfigTest, HeadSizeMayDifferFromHiddenSizeOverHeads) {
  Json json = Valid();
  json["head_dim"] = 128;
  EXPECT_EQ(ParseModelConfig(json.dump())->head_dim, 128);
}

TEST(ModelConfigTest, ReadsRopeAsTransformersFourAndFiveWriteIt) {
  const RotaryConfig expected{.kind = RotaryKind::kLinear, .theta = 500.0, .factor = 4.0};
  Json four = Valid();
  four["rope_theta"] = 500.0;
  four["rope_scaling"] = {{"type", "linear"}, {"factor", 4.0}};
  EXPECT_EQ(ParseModelConfig(four.dump())->rope, expected);
  Json five = Valid();
  five.erase("rope_theta");
  five.erase("rope_scaling");
  five["rope_parameters"] = {{"rope_type", "linear"}, {"rope_theta", 500.0}, {"factor", 4.0}};
  EXPECT_EQ(ParseModelConfig(five.dump())->rope, expected);
  five["rope_parameters"]["original_max_position_embeddings"] = 2048;
  EXPECT_EQ(ParseModelConfig(five.dump())->original_max_position_embeddings, 2048);
  // A merged model has both, and only the new spelling has room for the original length.
  five["rope_scaling"] = {{"type", "linear"}, {"factor", 4.0}};
  EXPECT_EQ(ParseModelConfig(five.dump())->original_max_position_embeddings, 2048);
}

// What transformers 5 makes of a config.json that leaves out whatever it may.
Json Minimal(const char* model_type) {
  Json json = Valid();
  for (const char* key : {"num_key_value_heads", "rms_norm_eps", "tie_word_embeddings",
                          "hidden_act", "attention_bias", "mlp_bias", "rope_theta"}) {
    json.erase(key);
  }
  json["num_attention_heads"] = 32;
  json["hidden_size"] = 2048;
  json["model_type"] = model_type;
  return json;
}

struct Defaults {
  const char* model_type;
  int64_t kv_heads, head_dim;
  double eps;
  int64_t pad, window, original;
  bool qkv_bias;
};

void PrintTo(const Defaults& defaults, std::ostream* out) { *out << defaults.model_type; }

class FamilyTest : public ::testing::TestWithParam<Defaults> {};

TEST_P(FamilyTest, AbsentKeysTakeTheFamilysDefaults) {
  const auto config = ParseModelConfig(Minimal(GetParam().model_type).dump());
  ASSERT_OK(config);
  EXPECT_EQ(config->num_kv_heads, GetParam().kv_heads);
  EXPECT_EQ(config->head_dim, GetParam().head_dim);
  EXPECT_EQ(config->rms_norm_eps, GetParam().eps);
  EXPECT_EQ(config->pad_token_id, GetParam().pad);
  EXPECT_EQ(config->sliding_window, GetParam().window);
  EXPECT_EQ(config->original_max_position_embeddings, GetParam().original);
  EXPECT_EQ(config->qkv_bias, GetParam().qkv_bias);
  EXPECT_FALSE(config->o_bias || config->mlp_bias || config->tie_word_embeddings);
  EXPECT_EQ(config->rope, RotaryConfig());
}

INSTANTIATE_TEST_SUITE_P(Families, FamilyTest,
                         ::testing::Values(Defaults{"llama", 32, 64, 1e-6, -1, 0, 8192, false},
                                           Defaults{"mistral", 8, 64, 1e-6, -1, 4096, 8192, false},
                                           Defaults{"qwen2", 32, 64, 1e-6, -1, 0, 8192, true},
                                           Defaults{"qwen3", 32, 128, 1e-6, -1, 0, 8192, false},
                                           Defaults{"phi3", 32, 64, 1e-5, 32000, 0, 4096, false}),
                         [](const auto& info) { return std::string(info.param.model_type); });

TEST(FamilyTest, BiasKeysAreReadOnlyWhereTheFamilyHasThem) {
  for (const char* model_type : {"llama", "mistral", "qwen2", "qwen3", "phi3"}) {
    Json json = Minimal(model_type);
    json["attention_bias"] = json["mlp_bias"] = true;
    const auto config = ParseModelConfig(json.dump());
    ASSERT_OK(config);
    const std::string name = model_type;
    EXPECT_EQ(config->o_bias, name == "llama" || name == "qwen3") << name;
    EXPECT_EQ(config->mlp_bias, name == "llama") << name;
  }
}

TEST(WindowTest, NullIsNoWindowAndAWindowMustCoverTheRow) {
  Json json = Minimal("mistral");
  EXPECT_OK(CheckWindowCovers(*ParseModelConfig(json.dump()), 4096));
  EXPECT_THAT(CheckWindowCovers(*ParseModelConfig(json.dump()), 4097),
              StatusIs(absl::StatusCode::kInvalidArgument, "sliding_window 4096"));
  json["sliding_window"] = nullptr;
  EXPECT_OK(CheckWindowCovers(*ParseModelConfig(json.dump()), 1 << 20));
}

TEST(WindowTest, Qwen2UsesItsWindowOnlyInTheLayersThatHaveOne) {
  Json json = Minimal("qwen2");  // 30 layers
  const auto window = [&] { return ParseModelConfig(json.dump())->sliding_window; };
  json["sliding_window"] = 512;
  EXPECT_EQ(window(), 0);  // use_sliding_window is false
  json["use_sliding_window"] = true;
  EXPECT_EQ(window(), 512);  // layers 28 and 29
  json["max_window_layers"] = 30;
  EXPECT_EQ(window(), 0);
  json["layer_types"] = std::vector<std::string>(30, "full_attention");
  EXPECT_EQ(window(), 0);
  json["layer_types"][3] = "sliding_attention";
  EXPECT_EQ(window(), 512);
  json["use_sliding_window"] = false;
  EXPECT_THAT(ParseModelConfig(json.dump()).status(),
              StatusIs(absl::StatusCode::kInvalidArgument, "names sliding_attention"));
  json["layer_types"][3] = "chunked_attention";
  EXPECT_THAT(ParseModelConfig(json.dump()).status(),
              StatusIs(absl::StatusCode::kInvalidArgument, "chunked_attention"));
}

struct Refusal {
  std::string name;
  const char* key;
  Json value;  // discarded: the key is removed
  const char* message;
};

void PrintTo(const Refusal& refusal, std::ostream* out) { *out << refusal.name; }

class RefusalTest : public ::testing::TestWithParam<Refusal> {};

TEST_P(RefusalTest, NamesTheKey) {
  Json json = Valid();
  if (GetParam().value.is_discarded()) {
    json.erase(GetParam().key);
  } else {
    json[GetParam().key] = GetParam().value;
  }
  const auto status = ParseModelConfig(json.dump()).status();
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kInvalidArgument, GetParam().key));
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kInvalidArgument, GetParam().message));
}

const Json kAbsent(Json::value_t::discarded);

INSTANTIATE_TEST_SUITE_P(
    Keys, RefusalTest,
    ::testing::Values(
        Refusal{"OtherModel", "model_type", "gemma2",
                "\"gemma2\" is not supported; these are: llama, mistral, qwen2, qwen3, phi3"},
        Refusal{"NoModelType", "model_type", kAbsent, "missing"},
        Refusal{"NumberAsModelType", "model_type", 7, "not supported"},
        Refusal{"MissingSize", "hidden_size", kAbsent, "missing"},
        Refusal{"NegativeSize", "hidden_size", -576, "between"},
        Refusal{"ZeroLayers", "num_hidden_layers", 0, "between"},
        Refusal{"HugeVocabulary", "vocab_size", 1'000'000'000'000, "between"},
        Refusal{"BeyondInt64", "vocab_size", 18446744073709551615ull, "between"},
        Refusal{"FractionalSize", "hidden_size", 576.5, "expected an integer"},
        Refusal{"SizeAsText", "hidden_size", "576", "expected an integer"},
        Refusal{"UnevenHeads", "num_key_value_heads", 2, "does not divide"},
        Refusal{"IndivisibleHidden", "hidden_size", 577, "not a multiple"},
        Refusal{"OddHeadSize", "head_dim", 63, "even"},
        Refusal{"HugeHeadSize", "head_dim", 4096, "between"},
        Refusal{"ZeroEpsilon", "rms_norm_eps", 0, "between"},
        Refusal{"TextEpsilon", "rms_norm_eps", "small", "expected a number"},
        Refusal{"TextTie", "tie_word_embeddings", "yes", "expected true or false"},
        Refusal{"TextBias", "attention_bias", "no", "expected true or false"},
        Refusal{"OtherActivation", "hidden_act", "gelu", "silu"},
        Refusal{"AttentionDropout", "attention_dropout", 0.1, "only 0"},
        Refusal{"Quantized", "quantization_config", Json::object(), "not supported"},
        Refusal{"PadBeyondVocabulary", "pad_token_id", 49152, "between"},
        Refusal{"OtherRope", "rope_scaling", {{"rope_type", "ntk"}}, "rope type \"ntk\""},
        Refusal{"Llama3Incomplete",
                "rope_scaling",
                {{"rope_type", "llama3"}, {"factor", 8.0}},
                "low_freq_factor: is missing"},
        Refusal{"LongRopeShortList",
                "rope_scaling",
                {{"type", "longrope"}, {"short_factor", {1.0}}, {"long_factor", {1.0}}},
                "short_factor: expected a list of 32 numbers"},
        Refusal{"YarnTurnedAround",
                "rope_scaling",
                {{"type", "yarn"}, {"factor", 2.0}, {"beta_fast", 1.0}, {"beta_slow", 2.0}},
                "beta_fast"},
        Refusal{"RopeNotAnObject", "rope_scaling", "linear", "expected an object"},
        Refusal{"LinearWithoutFactor", "rope_scaling", {{"type", "linear"}}, "factor: is missing"},
        Refusal{
            "ShrinkingFactor", "rope_scaling", {{"type", "linear"}, {"factor", 0.5}}, "between"},
        Refusal{"PartialRotary", "rope_parameters", {{"partial_rotary_factor", 0.5}}, "only 1"},
        Refusal{"PartialRotaryAtTheTop", "partial_rotary_factor", 0.5, "only 1"},
        Refusal{"NegativeTheta", "rope_theta", -1.0, "between"}),
    [](const auto& info) { return info.param.name; });

TEST(ModelConfigTest, TruncatedTextIsRefusedAtEveryByte) {
  const std::string text = Valid().dump();
  for (size_t length = 0; length < text.size(); ++length) {
    EXPECT_THAT(ParseModelConfig(text.substr(0, length)).status(),
                StatusIs(absl::StatusCode::kInvalidArgument, "not a JSON object"));
  }
}

TEST(ModelConfigTest, MissingFileIsNotFoundWithItsPath) {
  EXPECT_THAT(ReadModelConfig("/nonexistent").status(),
              StatusIs(absl::StatusCode::kNotFound, "/nonexistent/config.json"));
}

TEST(ParameterShapesTest, ListsTheHeadOnlyWhenItIsNotTied) {
  ModelConfig config = *ParseModelConfig(Valid().dump());
  config.num_layers = 2;
  EXPECT_EQ(ParameterShapes(config).size(), 1u + 2 * 9 + 1);
  config.tie_word_embeddings = false;
  const auto shapes = ParameterShapes(config);
  EXPECT_EQ(shapes.back().first, "lm_head.weight");
  EXPECT_EQ(shapes[3].first, "model.layers.0.self_attn.k_proj.weight");
  EXPECT_EQ(shapes[3].second, (std::vector<int64_t>{192, 576}));
}

TEST(ParameterShapesTest, BiasesHeadNormsAndFusedLinearsStandWhereTheFilesHaveThem) {
  std::vector<std::string> names;
  const auto list = [&](ModelConfig config) {
    config.num_layers = 1;
    names.clear();
    for (const auto& [name, shape] : ParameterShapes(config)) names.push_back(name);
  };
  list(*ParseModelConfig(Minimal("qwen3").dump()));
  EXPECT_THAT(names, ::testing::IsSupersetOf({"model.layers.0.self_attn.q_norm.weight",
                                              "model.layers.0.self_attn.k_norm.weight"}));
  EXPECT_EQ(names.size(), 1u + 11 + 2);
  list(*ParseModelConfig(Minimal("qwen2").dump()));
  EXPECT_THAT(names, ::testing::IsSupersetOf({"model.layers.0.self_attn.q_proj.bias",
                                              "model.layers.0.self_attn.v_proj.bias"}));
  EXPECT_EQ(names.size(), 1u + 12 + 2);
  list(*ParseModelConfig(Minimal("phi3").dump()));
  EXPECT_THAT(names, ::testing::IsSupersetOf({"model.layers.0.self_attn.qkv_proj.weight",
                                              "model.layers.0.mlp.gate_up_proj.weight"}));
  EXPECT_EQ(names.size(), 1u + 6 + 2);
}

}  // namespace
}  // namespace longlora::common
