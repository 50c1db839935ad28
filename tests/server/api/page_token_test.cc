// Goal: a token leads to its page, and only with the arguments it was made for. Method: tables.
#include "server/api/page_token.h"

#include <gtest/gtest.h>

#include "tests/testing/status_matchers.h"

namespace longlora::server {
namespace {

using ::longlora::testing::StatusIs;

TEST(PageTokenTest, TokenGivesItsPositionBack) {
  for (const int64_t position : {int64_t{1}, int64_t{50}, INT64_MAX}) {
    EXPECT_EQ(ParsePageToken("jobs 1,2", MakePageToken("jobs 1,2", position)).value(), position);
  }
  EXPECT_EQ(ParsePageToken("jobs", "").value(), 0);
}

TEST(PageTokenTest, OtherArgumentsAndMadeUpTokensAreRefused) {
  const std::string token = MakePageToken("events fineTuneJobs/a", 7);
  EXPECT_FALSE(ParsePageToken("events fineTuneJobs/b", token).ok());
  for (const std::string& forged :
       {std::string("7"), std::string("!"), token + "x", token.substr(1), std::string(1 << 20, 'A'),
        MakePageToken("events fineTuneJobs/a", -7), MakePageToken("events fineTuneJobs/a", 0)}) {
    EXPECT_THAT(ParsePageToken("events fineTuneJobs/a", forged),
                StatusIs(absl::StatusCode::kInvalidArgument, "page_token"));
  }
}

TEST(PageSizeTest, HasADefaultAMaximumAndNoNegatives) {
  EXPECT_EQ(PageSize(0).value(), 50);
  EXPECT_EQ(PageSize(1).value(), 1);
  EXPECT_EQ(PageSize(1000).value(), 1000);
  EXPECT_EQ(PageSize(1001).value(), 1000);
  EXPECT_FALSE(PageSize(-1).ok());
}

}  // namespace
}  // namespace longlora::server
