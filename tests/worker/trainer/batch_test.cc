// Goal: a batch holds the rows as the model takes them: ids, positions, labels, and attention that
// never crosses a document, dense or in groups; and rows padded to one length train as they do one
// by one. Method: small datasets written for the test; a tiny model's loss and gradients.
#include "worker/trainer/batch.h"

#include <gtest/gtest.h>

#include <fstream>

#include "absl/strings/str_cat.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temporary_directory.h"
#include "tests/worker/trainer/model/tiny_llama.h"
#include "worker/trainer/loss/chunked_cross_entropy.h"

namespace longlora::trainer {
namespace {

class BatchTest : public ::testing::Test {
 protected:
  // Documents of 5 and 7 tokens in one row of 12; then a row of one document.
  RowDataset Load() {
    PackingOptions packing;
    packing.max_sequence_length = 12;
    return Load(R"({"input_ids": [1, 2, 3, 4, 5]})"
                "\n"
                R"({"input_ids": [6, 7, 8, 9, 10, 11, 12]})"
                "\n"
                R"({"input_ids": [1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1]})"
                "\n",
                packing);
  }

  RowDataset Load(const std::string& lines, const PackingOptions& packing) {
    const std::string path = folder_ / "data.jsonl";
    std::ofstream(path) << lines;
    DocumentsOptions documents;
    documents.path = path;
    documents.example.format = common::DatasetFormat::kTokens;
    documents.example.vocab_size = 50;
    auto dataset = RowDataset::Load(documents, packing);
    EXPECT_OK(dataset.status());
    return *std::move(dataset);
  }

  longlora::testing::TemporaryDirectory folder_;
};

TEST(DenseStartStepTest, TheLastShareOfTheStepsRoundedUpIsDense) {
  common::TrainSpec spec;
  EXPECT_EQ(DenseStartStep(spec, 100), std::nullopt);
  struct Case {
    double fraction;
    int64_t total_steps;
    int64_t start;
  };
  for (const Case& c : std::vector<Case>{{0.1, 10, 10},
                                         {0.07, 100, 94},
                                         {0.1, 15, 14},
                                         {1e-6, 10, 10},
                                         {0.5, 7, 4},
                                         {1.0, 7, 1},
                                         {0.3, 1, 1}}) {
    spec.method.attention.dense_final_fraction = c.fraction;
    EXPECT_EQ(DenseStartStep(spec, c.total_steps), c.start) << c.fraction << " " << c.total_steps;
  }
}

TEST(StepAttentionTest, ChangesAtTheDenseStart) {
  common::TrainSpec spec;
  spec.max_sequence_length = 64;
  spec.method.attention.group_size = 8;
  spec.method.attention.dense_final_fraction = 0.2;
  for (int64_t step = 1; step <= 10; ++step) {
    const BatchAttention attention = StepAttention(spec, step, 10);
    EXPECT_EQ(attention.pattern, step < 9 ? common::AttentionPattern::kShiftedSparse
                                          : common::AttentionPattern::kDense)
        << step;
  }
}

TEST_F(BatchTest, RowsLieSideBySide) {
  const Batch batch = MakeBatch(Load(), {1, 0}, BatchAttention{}, torch::kCPU);
  EXPECT_EQ(batch.input.input_ids.sizes(), (std::vector<int64_t>{2, 12}));
  EXPECT_EQ(batch.input.input_ids[1][5].item<int64_t>(), 6);
  EXPECT_EQ(batch.input.position_ids[1][5].item<int64_t>(), 0);
  EXPECT_EQ(batch.labels[1][5].item<int64_t>(), -100);
  EXPECT_EQ(batch.labels[1][6].item<int64_t>(), 7);
  EXPECT_EQ(batch.num_tokens, 24);
  EXPECT_EQ(batch.num_targets, 11 + 10);
}

TEST_F(BatchTest, DenseAttentionEndsAtDocuments) {
  const Batch batch = MakeBatch(Load(), {0}, BatchAttention{}, torch::kCPU);
  ASSERT_EQ(batch.input.segments.size(), 1u);
  EXPECT_EQ(batch.input.segments[0].unshifted, (Borders{0, 5, 12}));
  EXPECT_EQ(batch.input.segments[0].shifted, (Borders{0, 5, 12}));
}

TEST_F(BatchTest, GroupsAreCutAtDocumentsToo) {
  const BatchAttention attention = {.pattern = common::AttentionPattern::kShiftedSparse,
                                    .group_size = 4};
  const Batch batch = MakeBatch(Load(), {0}, attention, torch::kCPU);
  EXPECT_EQ(batch.input.segments[0].unshifted, (Borders{0, 4, 5, 8, 12}));
  EXPECT_EQ(batch.input.segments[0].shifted, (Borders{0, 2, 5, 6, 10, 12}));
}

class PaddedBatchTest : public BatchTest, public ::testing::WithParamInterface<BatchAttention> {};

// fp32, the kernels of a real run. Token 0, which pads, occurs in no row.
TEST_P(PaddedBatchTest, GivesLossAndGradientsOfItsRowsOneByOne) {
  PackingOptions packing;
  packing.max_sequence_length = 40;
  packing.packing = false;
  std::string lines;
  const std::vector<int64_t> lengths = {13, 40, 2, 29};
  for (const int64_t length : lengths) {
    std::string ids;
    for (int64_t i = 0; i < length; ++i) {
      absl::StrAppend(&ids, i == 0 ? "" : ", ", 1 + (i * i + 5 * i + length) % 49);
    }
    absl::StrAppend(&lines, "{\"input_ids\": [", ids, "]}\n");
  }
  const RowDataset dataset = Load(lines, packing);
  ASSERT_EQ(dataset.num_rows(), 4);
  ModelOptions options;
  options.dtype = torch::kFloat32;
  options.train_embedding = options.train_norms = true;
  const common::ModelConfig config = TinyConfig();
  const auto model = *LlamaModel::Create(config, RandomWeights(config), options);
  std::vector<torch::Tensor> leaves;
  for (const Parameter& p : model->trained_parameters()) leaves.push_back(p.value);
  // Adds up over `batches` as a step does.
  const auto train = [&](const std::vector<std::vector<int64_t>>& batches) {
    torch::Tensor loss = torch::zeros({});
    for (const std::vector<int64_t>& rows : batches) {
      const Batch batch = MakeBatch(dataset, rows, GetParam(), torch::kCPU);
      const torch::Tensor hidden = model->Forward(batch.input, /*checkpoint_activations=*/true);
      loss += ChunkedCrossEntropy(hidden, model->lm_head(), batch.labels).sum;
    }
    std::vector<torch::Tensor> found = torch::autograd::grad({loss}, leaves);
    found.push_back(loss.detach());
    return found;
  };
  const auto together = train({{0, 1, 2, 3}}), apart = train({{0}, {1}, {2}, {3}});
  for (size_t i = 0; i < apart.size(); ++i) {
    const double error = (together[i] - apart[i]).norm().item<double>();
    EXPECT_LE(error, 2e-6 * apart[i].norm().item<double>()) << i;
  }
  EXPECT_EQ(together[0][0].abs().max().item<double>(), 0.0) << "padding was trained on";
}

INSTANTIATE_TEST_SUITE_P(
    Patterns, PaddedBatchTest,
    ::testing::Values(BatchAttention{},
                      BatchAttention{.pattern = common::AttentionPattern::kShiftedSparse,
                                     .group_size = 8}),
    [](const auto& info) {
      return info.param.pattern == common::AttentionPattern::kDense ? "Dense" : "ShiftedSparse";
    });

TEST_F(BatchTest, TheSpecSetsTheTrainingPattern) {
  common::TrainSpec spec;
  spec.max_sequence_length = 4096;
  EXPECT_EQ(TrainingAttention(spec).group_size, 1024);
  spec.method.attention.pattern = common::AttentionPattern::kDense;
  EXPECT_EQ(TrainingAttention(spec).pattern, common::AttentionPattern::kDense);
}

}  // namespace
}  // namespace longlora::trainer
