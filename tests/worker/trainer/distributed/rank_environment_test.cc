// Goal: torchrun's variables are read as torchrun means them, and mistakes name the variable.
// Method: a map instead of the environment.
#include "worker/trainer/distributed/rank_environment.h"

#include <gtest/gtest.h>

#include <map>
#include <utility>
#include <vector>

#include "tests/testing/status_matchers.h"

namespace longlora::trainer {
namespace {

using longlora::testing::StatusIs;
using Variables = std::map<std::string, std::string>;

absl::StatusOr<RankEnvironment> Read(const Variables& variables) {
  return ReadRankEnvironment([&variables](const char* name) -> const char* {
    const auto found = variables.find(name);
    return found == variables.end() ? nullptr : found->second.c_str();
  });
}

const Variables kSecondOfFour = {{"RANK", "1"},
                                 {"WORLD_SIZE", "4"},
                                 {"LOCAL_RANK", "1"},
                                 {"MASTER_PORT", "7"},
                                 {"MASTER_ADDR", "127.0.0.1"}};

TEST(RankEnvironmentTest, WithoutVariablesThereIsOneRank) {
  ASSERT_OK_AND_ASSIGN(const RankEnvironment environment, Read({}));
  EXPECT_EQ(environment.rank, 0);
  EXPECT_EQ(environment.world_size, 1);
}

TEST(RankEnvironmentTest, TorchrunsVariablesAreRead) {
  ASSERT_OK_AND_ASSIGN(const RankEnvironment environment, Read(kSecondOfFour));
  EXPECT_EQ(environment.rank, 1);
  EXPECT_EQ(environment.world_size, 4);
  EXPECT_EQ(environment.local_rank, 1);
  EXPECT_EQ(environment.local_world_size, 4);
  EXPECT_EQ(environment.master_address, "127.0.0.1");
  EXPECT_EQ(environment.master_port, 7);
  EXPECT_FALSE(environment.launcher_hosts_store);
}

TEST(RankEnvironmentTest, TheLaunchersStoreIsUsedWhenItSaysSo) {
  Variables variables = kSecondOfFour;
  variables["TORCHELASTIC_USE_AGENT_STORE"] = "True";
  variables["LOCAL_WORLD_SIZE"] = "2";
  ASSERT_OK_AND_ASSIGN(const RankEnvironment environment, Read(variables));
  EXPECT_TRUE(environment.launcher_hosts_store);
  EXPECT_EQ(environment.local_world_size, 2);
}

TEST(RankEnvironmentTest, EachMissingVariableIsNamed) {
  for (const auto& [name, value] : kSecondOfFour) {
    Variables variables = kSecondOfFour;
    variables.erase(name);
    EXPECT_THAT(Read(variables), StatusIs(absl::StatusCode::kInvalidArgument, name));
  }
}

TEST(RankEnvironmentTest, ImpossibleNumbersAreNamed) {
  const std::vector<std::pair<std::string, std::string>> broken = {{"RANK", "4"},
                                                                   {"RANK", "-1"},
                                                                   {"WORLD_SIZE", "0"},
                                                                   {"WORLD_SIZE", "two"},
                                                                   {"MASTER_PORT", "65536"}};
  for (const auto& [name, value] : broken) {
    Variables variables = kSecondOfFour;
    variables[name] = value;
    EXPECT_THAT(Read(variables), StatusIs(absl::StatusCode::kInvalidArgument, name)) << value;
  }
}

}  // namespace
}  // namespace longlora::trainer
