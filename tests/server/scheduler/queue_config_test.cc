// Goal: the operator's file is read as it is meant, and every mistake in it is told with its place.
// Method: texts.
#include "server/scheduler/queue_config.h"

#include "gmock/gmock.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temporary_directory.h"

namespace longlora::server {
namespace {

using ::longlora::testing::StatusIs;
using ::testing::HasSubstr;

TEST(QueueConfigTest, EveryKeyIsRead) {
  ASSERT_OK_AND_ASSIGN(const QueuesConfig config, ParseQueuesConfig(R"(
half_life: 24h
min_run_time: 90s
reclaim: false
queues:
  - name: research
    nominal: {cuda: 8, cpu: 2}
    borrowing_limit: {cuda: 4}
    weight: 2.5
    preempt_lower_priority: true
    max_duration: 72h
  - name: batch
)"));
  EXPECT_EQ(config.half_life, absl::Hours(24));
  EXPECT_EQ(config.min_run_time, absl::Seconds(90));
  EXPECT_FALSE(config.reclaim);
  EXPECT_EQ(config.queues.size(), 3u);  // and default
  const QueueConfig* research = config.Find("research");
  ASSERT_NE(research, nullptr);
  EXPECT_EQ(research->QuotaOf("cuda").nominal, 8);
  EXPECT_EQ(research->LimitOf("cuda"), 12);
  EXPECT_EQ(research->QuotaOf("cpu").nominal, 2);
  EXPECT_EQ(research->LimitOf("cpu"), std::nullopt);
  EXPECT_EQ(research->weight, 2.5);
  EXPECT_TRUE(research->preempt_lower_priority);
  EXPECT_EQ(research->max_duration, absl::Hours(72));
  EXPECT_EQ(config.Find("batch")->QuotaOf("cuda").nominal, 0);
  EXPECT_EQ(config.Find("nobody"), nullptr);
}

TEST(QueueConfigTest, TheDefaultQueueCanBeLimited) {
  ASSERT_OK_AND_ASSIGN(
      const QueuesConfig config,
      ParseQueuesConfig("queues: [{name: default, borrowing_limit: {cuda: 2, cpu: 0}}]"));
  EXPECT_EQ(config.queues.size(), 1u);
  EXPECT_EQ(config.Find(kDefaultQueue)->LimitOf("cuda"), 2);
  EXPECT_EQ(config.Find(kDefaultQueue)->LimitOf("cpu"), 0);
}

TEST(QueueConfigTest, EveryMistakeIsToldWithItsPlace) {
  const auto parsed = ParseQueuesConfig(R"(
half_life: 0s
reclaim: maybe
quues: []
queues:
  - name: Research
  - {name: a, weight: 0, nominal: {gpu: 1, cuda: -1}, max_duration: long}
  - {name: a}
  - 5
)");
  for (const char* mistake :
       {"half_life: must be above 0", "reclaim: expected true or false", "quues: unknown key",
        "queues[0].name: 1 to 63", "queues[1].weight: expected a number above 0",
        "queues[1].nominal: \"gpu\" is no kind", "queues[1].nominal: expected counts",
        "queues[1].max_duration: expected a duration", "queues[2].name: \"a\" is given twice",
        "queues[3]: expected a queue"}) {
    EXPECT_THAT(std::string(parsed.status().message()), HasSubstr(mistake));
  }
  EXPECT_THAT(ParseQueuesConfig("queues: 3"), StatusIs(absl::StatusCode::kInvalidArgument, "list"));
  EXPECT_THAT(ParseQueuesConfig("- a"), StatusIs(absl::StatusCode::kInvalidArgument, "keys"));
  EXPECT_THAT(ParseQueuesConfig("queues: ["), StatusIs(absl::StatusCode::kInvalidArgument, "line"));
}

TEST(QueueConfigTest, AFileThatCannotBeReadIsNamed) {
  const testing::TemporaryDirectory directory;
  EXPECT_THAT(ReadQueuesConfig(directory / "none.yaml"),
              StatusIs(absl::StatusCode::kNotFound, "none.yaml"));
}

}  // namespace
}  // namespace longlora::server
