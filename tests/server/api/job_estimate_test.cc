// Goal: the server tells what memory a job takes and where it fits, by what workers said of their
// models, and every way in which it cannot tell has its reason. Method: a server in this process,
// called over gRPC, with workers that are only messages.
#include "server/api/job_estimate.h"

#include <gtest/gtest.h>

#include "common/base_model/model_config.h"
#include "common/memory/memory_estimate.h"
#include "gmock/gmock.h"
#include "rpc/spec_json.h"
#include "tests/server/api/test_server.h"
#include "tests/testing/status_matchers.h"

namespace longlora::server {
namespace {

using ::testing::HasSubstr;

constexpr char kConfig[] =
    R"({"model_type": "llama", "vocab_size": 1000, "hidden_size": 64, "intermediate_size": 128,
        "num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": 256})";

class JobEstimateTest : public ::testing::Test {
 protected:
  // A worker with the model "tiny" of `config` (empty: it does not tell) and CPUs of `memory`
  // bytes.
  void Register(const std::string& name, const std::string& config,
                const std::vector<int64_t>& memory) {
    worker::v1::SynchronizeRequest request;
    request.set_worker(name);
    request.set_incarnation("life");
    request.add_models("tiny");
    request.add_models("untold");
    request.add_allowed_roots("/models");
    if (!config.empty()) {
      worker::v1::ModelConfig& told = *request.add_model_configs();
      told.set_model("tiny");
      told.set_config_json(config);
    }
    for (size_t i = 0; i < memory.size(); ++i) {
      v1::Device& device = *request.add_devices();
      device.set_id("cpu:" + std::to_string(i));
      device.set_kind("cpu");
      device.set_memory_bytes(memory[i]);
    }
    grpc::ClientContext context;
    worker::v1::SynchronizeResponse response;
    const grpc::Status status = server_.workers().Synchronize(&context, request, &response);
    ASSERT_TRUE(status.ok()) << status.error_message();
  }
  grpc::Status Estimate(const v1::FineTuneSpec& spec) {
    v1::EstimateFineTuneJobRequest request;
    *request.mutable_spec() = spec;
    grpc::ClientContext context;
    return server_.jobs().EstimateFineTuneJob(&context, request, &response_);
  }
  // Its dataset is nowhere.
  static v1::FineTuneSpec Spec() {
    v1::FineTuneSpec spec;
    spec.set_base_model("tiny");
    spec.mutable_dataset()->set_training("books.jsonl");
    spec.set_max_sequence_length(128);
    spec.mutable_training()->set_max_steps(2);
    spec.mutable_resources()->set_device("cpu");
    return spec;
  }

  TestServer server_;
  v1::EstimateFineTuneJobResponse response_;
};

TEST_F(JobEstimateTest, TellsWhatTheModelOfTheWorkerTakesWithoutAnyFile) {
  Register("w1", kConfig, {int64_t{1} << 40});
  ASSERT_TRUE(Estimate(Spec()).ok());
  ASSERT_OK_AND_ASSIGN(const auto spec, rpc::ToTrainSpec(Spec()));
  ASSERT_OK_AND_ASSIGN(const auto config, common::ParseModelConfig(kConfig));
  ASSERT_OK_AND_ASSIGN(const auto expected, common::EstimateMemory(spec, config));
  EXPECT_EQ(response_.total_bytes(), expected.total_bytes);
  EXPECT_EQ(response_.moment(), expected.moment);
  ASSERT_EQ(response_.components_size(), static_cast<int>(expected.components.size()));
  EXPECT_EQ(response_.components(0).name(), expected.components[0].name);
  EXPECT_EQ(response_.components(0).bytes(), expected.components[0].bytes);
  EXPECT_EQ(response_.rank_count(), 1);
}

TEST_F(JobEstimateTest, EveryWorkerWithTheModelIsJudgedByItsSmallestDevice) {
  Register("fits", kConfig, {int64_t{1} << 40, int64_t{1} << 41});
  Register("few", kConfig, {int64_t{1} << 40});
  Register("small", kConfig, {int64_t{1} << 40, 1000});
  Register("unknown", kConfig, {0, 0});
  v1::FineTuneSpec spec = Spec();
  spec.mutable_resources()->set_devices_per_node(2);
  ASSERT_TRUE(Estimate(spec).ok());
  EXPECT_EQ(response_.rank_count(), 2);
  ASSERT_EQ(response_.workers_size(), 4);
  const auto expect = [&](int i, const char* name, v1::WorkerFit::Verdict verdict, int64_t memory) {
    EXPECT_EQ(response_.workers(i).worker(), std::string("workers/") + name);
    EXPECT_EQ(response_.workers(i).verdict(), verdict) << name;
    EXPECT_EQ(response_.workers(i).device_memory_bytes(), memory) << name;
  };
  expect(0, "few", v1::WorkerFit::TOO_FEW_DEVICES, int64_t{1} << 40);
  expect(1, "fits", v1::WorkerFit::FITS, int64_t{1} << 40);
  expect(2, "small", v1::WorkerFit::TOO_LITTLE_MEMORY, 1000);
  expect(3, "unknown", v1::WorkerFit::MEMORY_UNKNOWN, 0);
}

TEST_F(JobEstimateTest, ShapesSurviveTheServer) {
  Register("w1", kConfig, {});
  server_.Restart();
  EXPECT_TRUE(Estimate(Spec()).ok());
}

TEST_F(JobEstimateTest, WhatCannotBeToldHasItsReasonAndAWayOut) {
  Register("w1", R"({"model_type": "mamba"})", {});
  grpc::Status status = Estimate(Spec());
  EXPECT_EQ(ReasonOf(status), "MODEL_INVALID");
  EXPECT_THAT(status.error_message(), HasSubstr("\"mamba\" is not supported; these are: llama"));

  v1::FineTuneSpec spec = Spec();
  spec.set_base_model("huge");
  status = Estimate(spec);
  EXPECT_EQ(ReasonOf(status), "MODEL_UNAVAILABLE");
  EXPECT_THAT(status.error_message(), HasSubstr("workers have tiny, untold"));
  for (const char* untold : {"untold", "/models/there"}) {
    spec.set_base_model(untold);
    status = Estimate(spec);
    EXPECT_EQ(ReasonOf(status), "MODEL_SHAPE_UNKNOWN") << untold;
    EXPECT_THAT(status.error_message(), HasSubstr("--model DIR"));
  }

  spec = Spec();
  spec.clear_max_sequence_length();
  status = Estimate(spec);
  EXPECT_EQ(ReasonOf(status), "SPEC_INVALID");
  EXPECT_EQ(FieldsOf(status), std::vector<std::string>{"max_sequence_length"});
  grpc::ClientContext context;
  EXPECT_EQ(ReasonOf(server_.jobs().EstimateFineTuneJob(&context, {}, &response_)), "SPEC_INVALID");
}

TEST_F(JobEstimateTest, AFieldThatDoesNotFitTheModelIsNamed) {
  Register("w1", kConfig, {});
  v1::FineTuneSpec spec = Spec();
  spec.mutable_method()->mutable_lora()->add_target_modules("qkv_proj");
  const grpc::Status status = Estimate(spec);
  EXPECT_EQ(ReasonOf(status), "SPEC_INVALID");
  EXPECT_EQ(FieldsOf(status), std::vector<std::string>{"method.lora.target_modules"});
}

}  // namespace
}  // namespace longlora::server
