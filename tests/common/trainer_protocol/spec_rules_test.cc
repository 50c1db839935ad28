// Goal: an impossible spec is refused with the field and the way out, a possible one is not.
// Method: one good spec, changed in one place at a time.
#include "common/trainer_protocol/spec_rules.h"

#include <functional>
#include <limits>

#include "gmock/gmock.h"
#include "tests/testing/status_matchers.h"

namespace longlora::common {
namespace {

using ::testing::IsEmpty;

TrainSpec GoodSpec() {
  TrainSpec spec;
  spec.base_model = "tiny";
  spec.dataset.training = "a.jsonl";
  spec.max_sequence_length = 1024;
  spec.training.max_steps = 10;
  return spec;
}

TEST(FindViolationsTest, AGoodSpecHasNone) { EXPECT_THAT(FindViolations(GoodSpec()), IsEmpty()); }

TEST(FindViolationsTest, WhatNeedsAValidationSetIsPossibleWithOne) {
  TrainSpec spec = GoodSpec();
  spec.dataset.validation = "validation.jsonl";
  spec.method.lora.dropout = 0.1;
  spec.method.lora.use_rslora = true;
  spec.method.attention.dense_final_fraction = 0.1;
  spec.optimizer.lora_plus_ratio = 16.0;
  spec.optimizer.trainable_learning_rate = 1e-6;
  spec.evaluation = {
      .interval_steps = 5, .patience = 2, .passkey = {.lengths = {256, 1024}, .trials = 3}};
  spec.checkpoint.keep_best = true;
  spec.export_options.weights = ExportWeights::kBest;
  EXPECT_THAT(FindViolations(spec), IsEmpty()) << CheckTrainSpec(spec);
}

TEST(FindViolationsTest, ExamplesHaveTheirOwnKeys) {
  for (const DatasetFormat format : {DatasetFormat::kInstruction, DatasetFormat::kChat}) {
    TrainSpec spec = GoodSpec();
    spec.dataset.format = format;
    spec.dataset.length_policy = LengthPolicy::kError;
    spec.dataset.train_on_prompt = true;
    EXPECT_THAT(FindViolations(spec), IsEmpty());
  }
}

struct Change {
  const char* field;
  std::function<void(TrainSpec&)> make;
};

class ChangedSpecTest : public ::testing::TestWithParam<Change> {};

TEST_P(ChangedSpecTest, HasOneViolationOfThatField) {
  TrainSpec spec = GoodSpec();
  GetParam().make(spec);
  const std::vector<SpecViolation> violations = FindViolations(spec);
  ASSERT_EQ(violations.size(), 1u) << CheckTrainSpec(spec);
  EXPECT_EQ(violations[0].field, GetParam().field);
  EXPECT_FALSE(violations[0].description.empty());
}

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

INSTANTIATE_TEST_SUITE_P(
    Table, ChangedSpecTest,
    ::testing::Values(
        Change{"display_name", [](TrainSpec& s) { s.display_name = std::string(64, 'x'); }},
        Change{"queue", [](TrainSpec& s) { s.queue = "No Queue"; }},
        Change{"resources.worker_labels", [](TrainSpec& s) { s.resources.worker_labels = {"gpu"}; }},
        Change{"resources.max_duration_seconds",
               [](TrainSpec& s) { s.resources.max_duration_seconds = 59; }},
        Change{"resources.max_duration_seconds",
               [](TrainSpec& s) { s.resources.max_duration_seconds = -1; }},
        Change{"base_model", [](TrainSpec& s) { s.base_model = ""; }},
        Change{"dataset.training", [](TrainSpec& s) { s.dataset.training = ""; }},
        Change{"dataset.length_policy",
               [](TrainSpec& s) { s.dataset.length_policy = LengthPolicy::kDrop; }},
        Change{"dataset.train_on_prompt",
               [](TrainSpec& s) {
                 s.dataset.format = DatasetFormat::kTokens;
                 s.dataset.train_on_prompt = true;
               }},
        Change{"max_sequence_length", [](TrainSpec& s) { s.max_sequence_length = 1; }},
        Change{"max_sequence_length", [](TrainSpec& s) { s.max_sequence_length = -1024; }},
        Change{"method.lora.rank", [](TrainSpec& s) { s.method.lora.rank = 0; }},
        Change{"method.lora.alpha", [](TrainSpec& s) { s.method.lora.alpha = kNan; }},
        Change{"method.lora.dropout", [](TrainSpec& s) { s.method.lora.dropout = 1.0; }},
        Change{"method.lora.target_modules",
               [](TrainSpec& s) { s.method.lora.target_modules = {}; }},
        Change{"method.lora.target_modules",
               [](TrainSpec& s) { s.method.lora.target_modules = {"q_proj", "q_proj"}; }},
        Change{"method.trainable", [](TrainSpec& s) { s.method.trainable = {"lm_head"}; }},
        Change{"method.attention.group_ratio",
               [](TrainSpec& s) { s.method.attention.group_ratio = 0; }},
        Change{"method.attention.group_size",
               [](TrainSpec& s) { s.method.attention.group_size = 33; }},
        Change{"method.attention.group_size",
               [](TrainSpec& s) { s.method.attention.group_size = 2048; }},
        Change{"method.attention.group_size",
               [](TrainSpec& s) {
                 s.method.attention.group_size = 32;
                 s.method.attention.group_ratio = 0.5;
               }},
        Change{"method.attention.pattern",
               [](TrainSpec& s) {
                 s.method.attention.pattern = AttentionPattern::kDense;
                 s.method.attention.group_ratio = 0.5;
               }},
        Change{"method.lora.target_modules",
               [](TrainSpec& s) { s.method.lora.target_modules = {"all-linear", "q_proj"}; }},
        Change{"method.rope_scaling.type",
               [](TrainSpec& s) { s.method.rope_scaling.type = RopeType::kLlama3; }},
        Change{"method.rope_scaling.factor",
               [](TrainSpec& s) { s.method.rope_scaling.factor = 0.5; }},
        Change{"optimizer.learning_rate", [](TrainSpec& s) { s.optimizer.learning_rate = -1e-5; }},
        Change{"optimizer.learning_rate", [](TrainSpec& s) { s.optimizer.learning_rate = kNan; }},
        Change{"optimizer.beta1", [](TrainSpec& s) { s.optimizer.beta1 = 1.0; }},
        Change{"optimizer.beta2", [](TrainSpec& s) { s.optimizer.beta2 = -0.1; }},
        Change{"optimizer.epsilon", [](TrainSpec& s) { s.optimizer.epsilon = 0; }},
        Change{"optimizer.weight_decay", [](TrainSpec& s) { s.optimizer.weight_decay = kNan; }},
        Change{"optimizer.warmup_steps", [](TrainSpec& s) { s.optimizer.warmup_steps = -1; }},
        Change{"optimizer.max_grad_norm", [](TrainSpec& s) { s.optimizer.max_grad_norm = -1; }},
        Change{"training.max_steps", [](TrainSpec& s) { s.training.max_steps = 0; }},
        Change{"training.max_steps", [](TrainSpec& s) { s.training.max_steps.reset(); }},
        Change{"training.max_steps", [](TrainSpec& s) { s.training.epochs = 1.0; }},
        Change{"training.epochs",
               [](TrainSpec& s) {
                 s.training.max_steps.reset();
                 s.training.epochs = 0.0;
               }},
        Change{"training.micro_batch_size", [](TrainSpec& s) { s.training.micro_batch_size = 0; }},
        Change{"training.gradient_accumulation_steps",
               [](TrainSpec& s) { s.training.gradient_accumulation_steps = 0; }},
        Change{"method.attention.dense_final_fraction",
               [](TrainSpec& s) { s.method.attention.dense_final_fraction = 1.5; }},
        Change{"optimizer.lora_plus_ratio", [](TrainSpec& s) { s.optimizer.lora_plus_ratio = 0; }},
        Change{"training.max_skipped_steps",
               [](TrainSpec& s) { s.training.max_skipped_steps = 0; }},
        Change{"evaluation.patience", [](TrainSpec& s) { s.evaluation.patience = -1; }},
        Change{"evaluation.passkey.trials", [](TrainSpec& s) { s.evaluation.passkey.trials = 0; }},
        Change{"method.attention.dense_final_fraction",
               [](TrainSpec& s) {
                 s.method.attention = {.pattern = AttentionPattern::kDense,
                                       .dense_final_fraction = 0.5};
               }},
        Change{"optimizer.trainable_learning_rate",
               [](TrainSpec& s) { s.optimizer.trainable_learning_rate = kNan; }},
        Change{"optimizer.trainable_learning_rate",
               [](TrainSpec& s) {
                 s.optimizer.trainable_learning_rate = 1e-5;
                 s.method.trainable = {};
               }},
        Change{"evaluation.patience",
               [](TrainSpec& s) {
                 s.evaluation = {.interval_steps = 5, .patience = 1};
                 s.dataset.validation = "";
               }},
        Change{"evaluation.patience",
               [](TrainSpec& s) {
                 s.evaluation = {.interval_steps = 0, .patience = 1};
                 s.dataset.validation = "validation.jsonl";
               }},
        Change{"evaluation.passkey.lengths",
               [](TrainSpec& s) {
                 s.evaluation.passkey.lengths = {256};
                 s.dataset.validation = "";
               }},
        Change{"evaluation.passkey.lengths",
               [](TrainSpec& s) {
                 s.evaluation.passkey.lengths = {2048};
                 s.dataset.validation = "validation.jsonl";
               }},
        Change{"evaluation.passkey.lengths",
               [](TrainSpec& s) {
                 s.evaluation.passkey.lengths.assign(17, 256);
                 s.dataset.validation = "validation.jsonl";
               }},
        Change{"checkpoint.keep_best",
               [](TrainSpec& s) {
                 s.checkpoint.keep_best = true;
                 s.dataset.validation = "";
               }},
        Change{"export.weights",
               [](TrainSpec& s) { s.export_options.weights = ExportWeights::kBest; }},
        Change{"training.seed", [](TrainSpec& s) { s.training.seed = -1; }},
        Change{"evaluation.interval_steps", [](TrainSpec& s) { s.evaluation.interval_steps = -1; }},
        Change{"checkpoint.keep_last", [](TrainSpec& s) { s.checkpoint.keep_last = 0; }},
        Change{"resources.nodes", [](TrainSpec& s) { s.resources.nodes = 2; }},
        Change{"resources.devices_per_node",
               [](TrainSpec& s) { s.resources.devices_per_node = 0; }},
        Change{"resources.context_parallel",
               [](TrainSpec& s) { s.resources.context_parallel = 2; }},
        Change{"resources.shard_base", [](TrainSpec& s) { s.resources.shard_base = true; }},
        Change{"priority", [](TrainSpec& s) { s.priority = 1001; }}));

TEST(CheckTrainSpecTest, ListsEveryViolation) {
  TrainSpec spec = GoodSpec();
  spec.base_model = "";
  spec.priority = 5000;
  const absl::Status status = CheckTrainSpec(spec);
  EXPECT_THAT(status,
              testing::StatusIs(absl::StatusCode::kInvalidArgument, "base_model: is required"));
  EXPECT_THAT(status, testing::StatusIs(absl::StatusCode::kInvalidArgument,
                                        "\npriority: must be from -1000 to 1000, is 5000"));
}

TEST(GroupSizeTest, IsAnEvenShareOfTheRow) {
  TrainSpec spec = GoodSpec();
  EXPECT_EQ(GroupSize(spec), 256);
  spec.max_sequence_length = 1030;  // a quarter is 257.5
  EXPECT_EQ(GroupSize(spec), 256);
  spec.method.attention.group_size = 100;
  EXPECT_EQ(GroupSize(spec), 100);
  spec.method.attention = {};
  spec.max_sequence_length = 3;
  EXPECT_EQ(GroupSize(spec), 2);
}

}  // namespace
}  // namespace longlora::common
