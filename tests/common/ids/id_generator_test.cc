// Goal: names are legal resource ids (AIP-122) whatever the user calls a job. Method: examples and
// a regular expression over many random ones.
#include "common/ids/id_generator.h"

#include <regex>
#include <set>

#include "gmock/gmock.h"

namespace longlora::common {
namespace {

TEST(JobIdTest, KeepsLettersAndDigitsOfTheDisplayName) {
  EXPECT_EQ(JobId("SmolLM2 16k!", "abcdefgh"), "smollm2-16k-abcdefgh");
}

TEST(JobIdTest, IsLegalForEveryDisplayName) {
  const std::regex legal("[a-z][a-z0-9-]{2,61}[a-z0-9]");
  for (const char* name :
       {"", "---", "7B", "ünïcödé", "a", "UPPER_and under", "../../etc/passwd",
        "a very long name that goes on and on and on and on and on and never ends"}) {
    const std::string id = JobId(name, IdGenerator::Real().RandomSuffix(8));
    EXPECT_TRUE(std::regex_match(id, legal)) << "\"" << name << "\" gives " << id;
  }
}

TEST(IdGeneratorTest, UuidsAreOfVersionFourAndDiffer) {
  const std::regex version4("[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}");
  std::set<std::string> seen;
  for (int i = 0; i < 1000; ++i) {
    const std::string uuid = IdGenerator::Real().Uuid();
    EXPECT_TRUE(std::regex_match(uuid, version4)) << uuid;
    EXPECT_TRUE(seen.insert(uuid).second) << uuid;
  }
}

}  // namespace
}  // namespace longlora::common
