// Goal: a job file means exactly what it says, and what it cannot mean is named by its path.
// Method: a whole spec there and back; a table of wrong ones with the error each must give.
#include "common/trainer_protocol/spec_codec.h"

#include "gmock/gmock.h"
#include "tests/testing/status_matchers.h"

namespace longlora::common {
namespace {

using ::longlora::testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr char kWhole[] = R"({
  "display_name": "smollm2-16k", "base_model": "smollm2-135m",
  "dataset": {"training": "books.jsonl", "validation": "held-out.jsonl", "format": "tokens",
              "packing": false, "shuffle": false, "length_policy": "drop", "train_on_prompt": true},
  "max_sequence_length": 16384,
  "method": {"lora": {"rank": 4, "alpha": 8, "dropout": 0.5, "target_modules": ["q_proj"],
                      "use_rslora": true},
             "trainable": [], "attention": {"pattern": "shifted_sparse", "group_size": 64,
                                               "dense_final_fraction": 0.1},
             "rope_scaling": {"type": "linear", "factor": 2.0}, "initial_adapter": "/a"},
  "optimizer": {"learning_rate": 1e-4, "beta1": 0.8, "beta2": 0.999, "epsilon": 1e-6,
                "weight_decay": 0.1, "schedule": "cosine", "warmup_steps": 7, "max_grad_norm": 0.5,
                "lora_plus_ratio": 16, "trainable_learning_rate": 1e-6},
  "training": {"max_steps": 1000, "micro_batch_size": 2, "gradient_accumulation_steps": 8, "seed": 5,
               "precision": "fp32", "max_skipped_steps": 3},
  "evaluation": {"interval_steps": 100, "patience": 4,
                 "passkey": {"lengths": [512, "1024"], "trials": 2}},
  "checkpoint": {"interval_steps": 50, "keep_last": 3, "keep_best": true},
  "export": {"merged": true, "weights": "best"},
  "resources": {"device": "cpu", "nodes": 1, "devices_per_node": 2, "context_parallel": 1,
                "shard_base": false, "worker_labels": ["gpu=h100"], "max_duration_seconds": 3600},
  "priority": -3, "queue": "research"})";

TEST(ParseTrainSpecTest, ReadsEveryKey) {
  ASSERT_OK_AND_ASSIGN(const TrainSpec spec, ParseTrainSpec(kWhole));
  EXPECT_EQ(spec.display_name, "smollm2-16k");
  EXPECT_EQ(spec.dataset.format, DatasetFormat::kTokens);
  EXPECT_FALSE(spec.dataset.packing);
  EXPECT_FALSE(spec.dataset.shuffle);
  EXPECT_EQ(spec.max_sequence_length, 16384);
  EXPECT_EQ(spec.method.lora.rank, 4);
  EXPECT_THAT(spec.method.lora.target_modules, ElementsAre("q_proj"));
  EXPECT_THAT(spec.method.trainable, IsEmpty());
  EXPECT_EQ(spec.method.attention.group_size, 64);
  EXPECT_EQ(spec.method.attention.group_ratio, std::nullopt);
  EXPECT_EQ(spec.method.rope_scaling.factor, 2.0);
  EXPECT_EQ(spec.optimizer.schedule, Schedule::kCosine);
  EXPECT_EQ(spec.optimizer.warmup_steps, 7);
  EXPECT_EQ(spec.training.max_steps, 1000);
  EXPECT_EQ(spec.training.epochs, std::nullopt);
  EXPECT_EQ(spec.training.precision, Precision::kFp32);
  EXPECT_EQ(spec.dataset.length_policy, LengthPolicy::kDrop);
  EXPECT_TRUE(spec.dataset.train_on_prompt);
  EXPECT_TRUE(spec.method.lora.use_rslora);
  EXPECT_EQ(spec.method.attention.dense_final_fraction, 0.1);
  EXPECT_EQ(spec.optimizer.lora_plus_ratio, 16);
  EXPECT_EQ(spec.optimizer.trainable_learning_rate, 1e-6);
  EXPECT_EQ(spec.training.max_skipped_steps, 3);
  EXPECT_EQ(spec.evaluation.patience, 4);
  EXPECT_THAT(spec.evaluation.passkey.lengths, ElementsAre(512, 1024));
  EXPECT_EQ(spec.evaluation.passkey.trials, 2);
  EXPECT_TRUE(spec.checkpoint.keep_best);
  EXPECT_EQ(spec.export_options.weights, ExportWeights::kBest);
  EXPECT_TRUE(spec.export_options.merged);
  EXPECT_EQ(spec.resources.device, Device::kCpu);
  EXPECT_THAT(spec.resources.worker_labels, ElementsAre("gpu=h100"));
  EXPECT_EQ(spec.resources.max_duration_seconds, 3600);
  EXPECT_EQ(spec.priority, -3);
  EXPECT_EQ(spec.queue, "research");
}

TEST(ParseTrainSpecTest, WritingAndReadingGivesTheSame) {
  ASSERT_OK_AND_ASSIGN(const TrainSpec spec, ParseTrainSpec(kWhole));
  ASSERT_OK_AND_ASSIGN(const TrainSpec again, ParseTrainSpec(FormatTrainSpec(spec)));
  EXPECT_EQ(FormatTrainSpec(again), FormatTrainSpec(spec));
  EXPECT_EQ(again.optimizer.learning_rate, spec.optimizer.learning_rate);
}

TEST(ParseTrainSpecTest, AbsentKeysKeepTheDefaultsOfThePaper) {
  ASSERT_OK_AND_ASSIGN(const TrainSpec spec, ParseTrainSpec("{}"));
  EXPECT_THAT(spec.method.trainable, ElementsAre("embed", "norm"));
  EXPECT_EQ(spec.method.lora.rank, 8);
  EXPECT_EQ(spec.optimizer.beta2, 0.95);
  EXPECT_EQ(spec.training.precision, Precision::kBf16);
}

TEST(ParseTrainSpecTest, TakesIntegersInEveryFormThatJsonAndProtobufWrite) {
  for (const char* number : {"8", "8.0", "8e0", "\"8\""}) {
    ASSERT_OK_AND_ASSIGN(const TrainSpec spec,
                         ParseTrainSpec(std::string("{\"max_sequence_length\":") + number + "}"));
    EXPECT_EQ(spec.max_sequence_length, 8) << number;
  }
}

struct BadSpec {
  const char* json;
  const char* error;
};

class BadSpecTest : public ::testing::TestWithParam<BadSpec> {};

TEST_P(BadSpecTest, IsRefusedWithItsPath) {
  EXPECT_THAT(ParseTrainSpec(GetParam().json),
              StatusIs(absl::StatusCode::kInvalidArgument, GetParam().error));
}

INSTANTIATE_TEST_SUITE_P(
    Table, BadSpecTest,
    ::testing::Values(
        BadSpec{"", "not valid JSON"}, BadSpec{"[]", "not a JSON object"},
        BadSpec{"{", "not valid JSON"},
        BadSpec{R"({"max_step": 1})", "max_step: unknown key; known here are base_model"},
        BadSpec{R"({"training": {"max_step": 1}})", "training.max_step: unknown key"},
        BadSpec{R"({"method": {"lora": {"rank": "eight"}}})",
                "method.lora.rank: expected an integer, found \"eight\""},
        BadSpec{R"({"method": {"lora": {"rank": 1.5}}})", "method.lora.rank: expected an integer"},
        BadSpec{R"({"method": {"lora": {"rank": 4294967296}}})",
                "method.lora.rank: expected an integer"},
        BadSpec{R"({"training": {"seed": 18446744073709551615}})", "training.seed: expected"},
        BadSpec{R"({"method": {"lora": 3}})", "method.lora: expected an object, found 3"},
        BadSpec{R"({"method": {"trainable": "embed"}})", "method.trainable: expected a list"},
        BadSpec{R"({"method": {"trainable": [1]}})", "method.trainable: expected a list"},
        BadSpec{R"({"dataset": {"packing": "yes"}})", "dataset.packing: expected true or false"},
        BadSpec{R"({"dataset": {"training": null}})",
                "dataset.training: expected a string, found null"},
        BadSpec{R"({"dataset": {"format": "csv"}})",
                "dataset.format: expected one of text, instruction, chat, tokens, found \"csv\""},
        BadSpec{R"({"optimizer": {"learning_rate": "NaN"}})",
                "optimizer.learning_rate: expected a finite number"},
        BadSpec{R"({"optimizer": {"learning_rate": NaN}})", "not valid JSON"},
        BadSpec{R"({"optimizer": {"learning_rate": 1e999}})", ""},
        BadSpec{R"({"priority": 1, "priority": 2})", "\"priority\" twice"}));

TEST(ParseTrainSpecTest, NamesEveryErrorAtOnce) {
  EXPECT_THAT(ParseTrainSpec(R"({"a": 1, "priority": "x"})"),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       "priority: expected an integer, found \"x\"\na: unknown key"));
}

}  // namespace
}  // namespace longlora::common
