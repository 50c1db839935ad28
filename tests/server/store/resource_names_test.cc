// Goal: only well-formed names reach the store.
// Method: tables of good and bad names.
#include "server/store/resource_names.h"

#include "gtest/gtest.h"
#include "tests/testing/status_matchers.h"

namespace longlora::server {
namespace {

TEST(ResourceNamesTest, NameOfAJobGivesItsId) {
  ASSERT_OK_AND_ASSIGN(const std::string id, ParseJobName(JobName("smollm2-16k-abcd1234")));
  EXPECT_EQ(id, "smollm2-16k-abcd1234");
}

TEST(ResourceNamesTest, MalformedJobNamesAreRefused) {
  for (const std::string name :
       {"", "abcd", "fineTuneJobs/", "fineTuneJobs/ab", "fineTuneJobs/1abc", "fineTuneJobs/abc-",
        "fineTuneJobs/Abcd", "fineTuneJobs/abcd/x", "fineTuneJobs/ab..cd", "workers/abcd"}) {
    EXPECT_THAT(ParseJobName(name),
                testing::StatusIs(absl::StatusCode::kInvalidArgument, "fineTuneJobs/{id}"))
        << name;
  }
  EXPECT_FALSE(ParseJobName(JobName(std::string(64, 'a'))).ok());
}

}  // namespace
}  // namespace longlora::server
