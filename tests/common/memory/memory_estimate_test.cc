// Goal: the memory model counts what a run has, by the shapes of model and spec. Method: one model
// of round numbers, one key of the spec or the shape changed at a time, and the parts that follow
// from it in bytes. That the sum is what a run really takes is the work of tests/worker/trainer.
#include "common/memory/memory_estimate.h"

#include <gtest/gtest.h>

#include "tests/testing/status_matchers.h"

namespace longlora::common {
namespace {

using ::longlora::testing::StatusIs;

constexpr int64_t kVocabulary = 10'000, kHidden = 512, kLayers = 8, kInner = 2048;

ModelConfig Model() {
  ModelConfig model;
  model.vocab_size = kVocabulary;
  model.hidden_size = kHidden;
  model.intermediate_size = kInner;
  model.num_layers = kLayers;
  model.num_heads = 8;
  model.num_kv_heads = 8;
  model.head_dim = 64;
  return model;
}

// Rows so long that the backward pass is what takes most.
TrainSpec Spec() {
  TrainSpec spec;
  spec.max_sequence_length = 16'384;
  spec.training.max_steps = 10;
  spec.method.trainable = {};
  spec.resources.device = Device::kCpu;
  return spec;
}

MemoryEstimate Estimate(const TrainSpec& spec, const ModelConfig& model = Model()) {
  const absl::StatusOr<MemoryEstimate> estimate = EstimateMemory(spec, model);
  EXPECT_OK(estimate.status());
  return estimate.ok() ? *estimate : MemoryEstimate();
}

int64_t Part(const MemoryEstimate& estimate, absl::string_view name) {
  for (const MemoryComponent& component : estimate.components) {
    if (component.name == name) return component.bytes;
  }
  return 0;
}

TEST(MemoryEstimateTest, TheTotalIsTheSumOfTheComponentsLargestFirst) {
  const MemoryEstimate estimate = Estimate(Spec());
  EXPECT_EQ(estimate.moment, "the backward pass of a training step");
  int64_t sum = 0, before = estimate.total_bytes;
  for (const MemoryComponent& component : estimate.components) {
    EXPECT_GT(component.bytes, 0) << component.name;
    EXPECT_LE(component.bytes, before) << component.name;
    EXPECT_FALSE(component.description.empty());
    before = component.bytes;
    sum += component.bytes;
  }
  EXPECT_EQ(sum, estimate.total_bytes);
}

TEST(MemoryEstimateTest, TwiceTheRowDoublesWhatDependsOnTokensAndNothingElse) {
  TrainSpec spec = Spec();
  const MemoryEstimate once = Estimate(spec);
  spec.max_sequence_length *= 2;
  const MemoryEstimate twice = Estimate(spec);
  EXPECT_EQ(Part(twice, "layer_inputs"), 2 * Part(once, "layer_inputs"));
  EXPECT_EQ(Part(twice, "layer"), 2 * Part(once, "layer"));
  EXPECT_EQ(twice.total_bytes - once.total_bytes, Part(once, "layer_inputs") + Part(once, "layer"));
}

// Of many layers: there a prompt's keys and values outweigh what a training step keeps.
TEST(MemoryEstimateTest, APasskeyPromptKeepsTheKeysAndValuesOfEveryLayer) {
  ModelConfig model = Model();
  model.num_layers = 64;
  TrainSpec spec = Spec();
  spec.dataset.validation = "held-out.jsonl";
  spec.evaluation.passkey.lengths = {8'000, 16'000, 4'000};
  const MemoryEstimate estimate = Estimate(spec, model);
  EXPECT_EQ(estimate.moment, "a passkey prompt");
  EXPECT_EQ(Part(estimate, "kv_cache"), 2 * 64 * 512 * 16'000 * 2);  // bf16
  model.num_kv_heads = 2;
  EXPECT_NE(Estimate(spec, model).moment, "a passkey prompt");
}

TEST(MemoryEstimateTest, TwoRowsAtOnceTakeWhatOneOfTwiceTheLengthTakes) {
  TrainSpec rows = Spec(), length = Spec();
  rows.training.micro_batch_size = 2;
  length.max_sequence_length *= 2;
  EXPECT_EQ(Estimate(rows).total_bytes, Estimate(length).total_bytes);
}

TEST(MemoryEstimateTest, PlainLoraTrainsItsAdaptersAlone) {
  TrainSpec spec = Spec();
  spec.method.lora.rank = 16;
  const MemoryEstimate estimate = Estimate(spec);
  // q, k, v and o are 512 x 512 here.
  const int64_t adapters = kLayers * 4 * 16 * (kHidden + kHidden);
  EXPECT_EQ(Part(estimate, "trained_weights"), 4 * adapters);
  EXPECT_EQ(Part(estimate, "optimizer_state"), 8 * adapters);
  const int64_t layer = 4 * kHidden * kHidden + 3 * kHidden * kInner + 2 * kHidden;
  EXPECT_EQ(Part(estimate, "base_weights"),
            2 * (2 * kVocabulary * kHidden + kLayers * layer + kHidden));
}

TEST(MemoryEstimateTest, EmbeddingAndNormsThatTrainAreMastersInsteadOfFrozenWeights) {
  TrainSpec spec = Spec();
  const MemoryEstimate plain = Estimate(spec);
  spec.method.trainable = {"embed", "norm"};
  const MemoryEstimate both = Estimate(spec);
  const int64_t trained = kVocabulary * kHidden + (2 * kLayers + 1) * kHidden;
  EXPECT_EQ(Part(both, "trained_weights") - Part(plain, "trained_weights"), 4 * trained);
  EXPECT_EQ(Part(both, "optimizer_state") - Part(plain, "optimizer_state"), 8 * trained);
  EXPECT_EQ(Part(plain, "base_weights") - Part(both, "base_weights"), 2 * trained);
}

TEST(MemoryEstimateTest, TheGradientOfATiedHeadIsThereInTheWholeBackwardPass) {
  TrainSpec spec = Spec();
  spec.method.trainable = {"embed"};
  ModelConfig tied = Model();
  tied.tie_word_embeddings = true;
  EXPECT_EQ(Part(Estimate(spec, tied), "gradients"), 4 * kVocabulary * kHidden);
  EXPECT_EQ(Part(Estimate(spec), "gradients"), 0);
  EXPECT_EQ(Part(Estimate(spec), "base_weights") - Part(Estimate(spec, tied), "base_weights"),
            2 * kVocabulary * kHidden);
}

TEST(MemoryEstimateTest, FewerKeyHeadsMakeALayerSmaller) {
  ModelConfig grouped = Model();
  grouped.num_kv_heads = 2;
  const MemoryEstimate all = Estimate(Spec()), few = Estimate(Spec(), grouped);
  EXPECT_LT(Part(few, "layer"), Part(all, "layer"));
  EXPECT_EQ(Part(few, "layer_inputs"), Part(all, "layer_inputs"));
}

TEST(MemoryEstimateTest, Fp32TakesTwiceTheFrozenWeights) {
  TrainSpec spec = Spec();
  spec.training.precision = Precision::kFp32;
  EXPECT_EQ(Part(Estimate(spec), "base_weights"), 2 * Part(Estimate(Spec()), "base_weights"));
  // As does bf16 on a processor without it.
  const absl::StatusOr<MemoryEstimate> without =
      EstimateMemory(Spec(), Model(), /*bf16_products=*/false);
  ASSERT_OK(without.status());
  EXPECT_EQ(without->total_bytes, Estimate(spec).total_bytes);
}

TEST(MemoryEstimateTest, ACheckpointInTheMidstOfARunTakesACopyOfTheTrainedState) {
  TrainSpec spec = Spec();
  spec.checkpoint.interval_steps = 5;
  const MemoryEstimate estimate = Estimate(spec);
  EXPECT_EQ(Part(estimate, "checkpoint_copy"),
            Part(estimate, "trained_weights") + Part(estimate, "optimizer_state"));
  // The one checkpoint of step 10 has no step after it.
  spec.checkpoint.interval_steps = 10;
  EXPECT_EQ(Part(Estimate(spec), "checkpoint_copy"), 0);
  EXPECT_TRUE(CheckpointsWhileTraining(spec, 11));
  EXPECT_TRUE(CheckpointsWhileTraining(spec, std::nullopt));
  spec.checkpoint = {.interval_steps = 0, .keep_best = true};
  EXPECT_GT(Part(Estimate(spec), "checkpoint_copy"), 0);
}

TEST(MemoryEstimateTest, StepsOfSeveralMicroBatchesKeepTheirGradients) {
  TrainSpec spec = Spec();
  spec.training.gradient_accumulation_steps = 4;
  const MemoryEstimate estimate = Estimate(spec);
  EXPECT_EQ(Part(estimate, "gradients"), Part(estimate, "trained_weights"));
}

TEST(MemoryEstimateTest, MoreRanksChangeNothingForARank) {
  TrainSpec spec = Spec();
  spec.resources.devices_per_node = 8;
  EXPECT_EQ(Estimate(spec).total_bytes, Estimate(Spec()).total_bytes);
}

TEST(MemoryEstimateTest, ShortRowsOfALargeVocabularyTakeMostInTheLoss) {
  TrainSpec spec = Spec();
  spec.max_sequence_length = 1024;
  ModelConfig model = Model();
  model.vocab_size = 100'000;
  const MemoryEstimate estimate = Estimate(spec, model);
  EXPECT_EQ(estimate.moment, "the loss of a training step");
  EXPECT_GE(Part(estimate, "loss"), 2 * 1024 * 100'000);
  EXPECT_LT(Part(estimate, "loss"), 3 * 1024 * 100'000);
}

TEST(MemoryEstimateTest, AMergedModelIsReadBackBesideTheTrainers) {
  TrainSpec spec = Spec();
  spec.max_sequence_length = 64;
  spec.export_options.merged = true;
  const MemoryEstimate estimate = Estimate(spec);
  EXPECT_EQ(estimate.moment, "the proof of the merged model");
  EXPECT_EQ(Part(estimate, "optimizer_state"), 0);
  EXPECT_GT(Part(estimate, "export"), Part(estimate, "base_weights"));
}

TEST(MemoryEstimateTest, DropoutKeepsAMaskOfEveryAdaptersInput) {
  TrainSpec spec = Spec();
  const MemoryEstimate without = Estimate(spec);
  spec.method.lora.dropout = 0.1;
  EXPECT_GT(Part(Estimate(spec), "layer"), Part(without, "layer"));
}

TEST(MemoryEstimateTest, OnCudaNeitherTheProgramNorTheCopyLiesOnTheDevice) {
  TrainSpec spec = Spec();
  spec.resources.device = Device::kCuda;
  spec.checkpoint.interval_steps = 1;
  const MemoryEstimate estimate = Estimate(spec);
  EXPECT_EQ(Part(estimate, "runtime"), 0);
  EXPECT_EQ(Part(estimate, "checkpoint_copy"), 0);
}

TEST(MemoryEstimateTest, WhatDoesNotFitTheModelIsRefusedByName) {
  TrainSpec spec = Spec();
  spec.method.lora.target_modules = {"q_proj", "qkv_proj"};
  EXPECT_THAT(EstimateMemory(spec, Model()),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       "method.lora.target_modules: \"qkv_proj\" names no linear layer"));
  ModelConfig narrow = Model();
  narrow.sliding_window = 4096;
  EXPECT_THAT(EstimateMemory(Spec(), narrow),
              StatusIs(absl::StatusCode::kInvalidArgument, "max_sequence_length: "));
}

TEST(MemoryEstimateTest, AllLinearAndFusedModelsAreCountedByTheirOwnLinears) {
  TrainSpec spec = Spec();
  spec.method.lora.target_modules = {"all-linear"};
  ModelConfig fused = Model();
  fused.fused = true;
  const int64_t rank = spec.method.lora.rank;
  EXPECT_EQ(Part(Estimate(spec), "trained_weights"),
            4 * kLayers * rank * (4 * 2 * kHidden + 3 * (kHidden + kInner)));
  EXPECT_EQ(
      Part(Estimate(spec, fused), "trained_weights"),
      4 * kLayers * rank *
          ((3 * kHidden + kHidden) + 2 * kHidden + (2 * kInner + kHidden) + (kInner + kHidden)));
}

TEST(MemoryEstimateTest, TheLargestComponentsAreNamedWithTheirSizes) {
  const MemoryEstimate estimate = {.moment = "",
                                   .components = {{"layer", "", 12'300'000'000},
                                                  {"base_weights", "", 4'000'000'000},
                                                  {"loss", "", 1}},
                                   .total_bytes = 0};
  EXPECT_EQ(DescribeLargest(estimate, 2), "12.30 GB of layer, 4.00 GB of base_weights");
}

}  // namespace
}  // namespace longlora::common
