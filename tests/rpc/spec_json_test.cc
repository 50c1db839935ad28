// Goal: a job file, the message on the wire and the trainer's structs mean the same. Method: one
// job file through all three; the default of each must be the same in message-less and message
// form.
#include "rpc/spec_json.h"

#include "common/trainer_protocol/spec_codec.h"
#include "gmock/gmock.h"
#include "tests/testing/status_matchers.h"

namespace longlora::rpc {
namespace {

using ::longlora::testing::StatusIs;

TEST(SpecJsonTest, EveryKeyOfTheTrainerSpecIsAFieldOfTheMessage) {
  common::TrainSpec spec;
  spec.display_name = "d";
  spec.base_model = "tiny";
  spec.dataset = {"files/a", "files/b", common::DatasetFormat::kTokens, false, false};
  spec.max_sequence_length = 1'000'000;
  spec.method.trainable = {};
  spec.method.attention = {common::AttentionPattern::kShiftedSparse, std::nullopt, 64};
  spec.method.rope_scaling = {common::RopeType::kLinear, 2.0};
  spec.method.initial_adapter = "/adapters/a";
  spec.training.epochs = 1.5;
  spec.training.seed = 1LL << 60;
  spec.export_options.merged = true;
  spec.priority = -7;
  const std::string json = common::FormatTrainSpec(spec);

  ASSERT_OK_AND_ASSIGN(const v1::FineTuneSpec message, SpecFromJson(json));
  EXPECT_TRUE(message.method().has_trainable());
  ASSERT_OK_AND_ASSIGN(const common::TrainSpec again, ToTrainSpec(message));
  EXPECT_EQ(common::FormatTrainSpec(again), json);
}

TEST(SpecJsonTest, AnEmptyMessageHasTheDefaultsOfAnEmptyJobFile) {
  ASSERT_OK_AND_ASSIGN(const common::TrainSpec from_message, ToTrainSpec(v1::FineTuneSpec()));
  ASSERT_OK_AND_ASSIGN(const common::TrainSpec from_file, common::ParseTrainSpec("{}"));
  EXPECT_EQ(common::FormatTrainSpec(from_message), common::FormatTrainSpec(from_file));
}

TEST(SpecJsonTest, ANumberThatIsNoneOnTheWireIsRefused) {
  v1::FineTuneSpec message;
  message.mutable_optimizer()->set_learning_rate(std::nan(""));
  EXPECT_THAT(ToTrainSpec(message), StatusIs(absl::StatusCode::kInvalidArgument,
                                             "optimizer.learning_rate: expected a finite number"));
}

TEST(SpecJsonTest, AWrongTypeInTheListOfTrainablesIsRefused) {
  v1::FineTuneSpec message;
  message.mutable_method()->mutable_trainable()->add_values()->set_number_value(1);
  EXPECT_THAT(ToTrainSpec(message),
              StatusIs(absl::StatusCode::kInvalidArgument, "method.trainable"));
}

}  // namespace
}  // namespace longlora::rpc
