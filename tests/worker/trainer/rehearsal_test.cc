// Goal: the rehearsal runs everything a job will run at its greatest size, and nothing else, and
// leaves the job as it was. Method: a linear map of a tiny model that notes the shape of what it is
// given. Memory itself: rehearsal_test.py.
#include "worker/trainer/rehearsal.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temporary_directory.h"
#include "tests/worker/trainer/model/tiny_llama.h"

namespace longlora::trainer {
namespace {

using ::testing::ElementsAre;

// Rows and tokens of every call, "2x32".
class Noting : public LinearAdapter {
 public:
  explicit Noting(std::vector<std::string>& calls) : calls_(calls) {}
  torch::Tensor AddTo(const torch::Tensor& y, const torch::Tensor& x) const override {
    calls_.push_back(absl::StrCat(x.size(0), "x", x.size(1)));
    return y;
  }
  std::vector<torch::Tensor> parameters() const override { return {}; }

 private:
  std::vector<std::string>& calls_;
};

class RehearsalTest : public ::testing::Test {
 protected:
  RehearsalTest() {
    common::TrainSpec& spec = job_.options.spec;
    spec.max_sequence_length = 32;
    spec.dataset.packing = false;
    spec.method.attention.group_size = 8;
    spec.training.micro_batch_size = 2;
    job_.total_steps = 10;
    job_.backend = *CreateDeviceBackend(common::Device::kCpu, RankEnvironment{});
    job_.group = std::make_unique<SingleProcessGroup>();
    ModelOptions options;
    options.dtype = torch::kFloat32;
    options.train_embedding = options.train_norms = true;
    job_.model = *LlamaModel::Create(TinyConfig(), RandomWeights(TinyConfig()), options);
    job_.trained = job_.model->trained_parameters();
    job_.model->linears().front()->adapter = std::make_shared<Noting>(calls_);
    job_.training = Load("training", {20, 30, 3});
  }

  // A row for each document, of so many tokens.
  std::unique_ptr<RowDataset> Load(const std::string& name, const std::vector<int>& lengths) {
    DocumentsOptions documents;
    documents.path = folder_ / name;
    documents.example.format = common::DatasetFormat::kTokens;
    documents.example.vocab_size = 50;
    std::ofstream file(documents.path);
    for (const int length : lengths) {
      file << "{\"input_ids\": [" << absl::StrJoin(std::vector<int>(length, 7), ",") << "]}\n";
    }
    file.close();
    PackingOptions packing;
    packing.max_sequence_length = 32;
    packing.packing = false;
    auto dataset = RowDataset::Load(documents, packing);
    EXPECT_OK(dataset.status());
    return std::make_unique<RowDataset>(*std::move(dataset));
  }

  longlora::testing::TemporaryDirectory folder_;
  std::vector<std::string> calls_;
  TrainingJob job_;
};

TEST_F(RehearsalTest, AStepIsAMicroBatchOfTheLongestRowForwardAndRecomputed) {
  EXPECT_GT(Rehearse(job_), 0);
  EXPECT_THAT(calls_, ElementsAre("2x30", "2x30"));
  calls_.clear();
  job_.options.spec.dataset.packing = true;
  Rehearse(job_);
  EXPECT_THAT(calls_, ElementsAre("2x32", "2x32"));
}

TEST_F(RehearsalTest, ADenseLastPartHasAStepOfItsOwn) {
  job_.options.spec.method.attention.dense_final_fraction = 0.5;
  Rehearse(job_);
  EXPECT_THAT(calls_, ElementsAre("2x30", "2x30", "2x30", "2x30"));
  calls_.clear();
  job_.options.spec.method.attention.pattern = common::AttentionPattern::kDense;
  Rehearse(job_);
  EXPECT_THAT(calls_, ElementsAre("2x30", "2x30"));
}

TEST_F(RehearsalTest, TheLongestValidationRowAndPromptAreReadAndThePromptAnswered) {
  job_.validation = Load("validation", {9, 25});
  for (const int64_t length : {21, 40, 33}) {
    job_.passkey_prompts.push_back(
        {.length = length, .ids = std::vector<int64_t>(length, 7), .answer = {1, 2, 3}});
  }
  Rehearse(job_);
  EXPECT_THAT(calls_, ElementsAre("2x30", "2x30", "1x25", "1x40", "1x1", "1x1"));
}

TEST_F(RehearsalTest, NothingIsLeftBehind) {
  const std::map<std::string, torch::Tensor> weights = RandomWeights(TinyConfig());
  job_.options.spec.training.gradient_accumulation_steps = 2;
  Rehearse(job_);
  for (const Parameter& parameter : job_.trained) {
    EXPECT_FALSE(parameter.value.grad().defined()) << parameter.name;
    EXPECT_TRUE(torch::equal(parameter.value, weights.at(parameter.name).to(torch::kFloat32)));
  }
}

}  // namespace
}  // namespace longlora::trainer
