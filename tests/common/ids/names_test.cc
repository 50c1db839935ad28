// Goal: names that people give are accepted and refused alike by client, server and worker.
// Method: tables of good and bad names.
#include "common/ids/names.h"

#include <string>

#include "gtest/gtest.h"

namespace longlora::common {
namespace {

TEST(NamesTest, JobIdsBeginWithALetter) {
  for (const char* id : {"abcd", "smollm2-16k-abcd1234"}) EXPECT_TRUE(IsJobId(id)) << id;
  for (const char* id : {"", "abc", "1abc", "abc-", "Abcd", "ab.cd"}) {
    EXPECT_FALSE(IsJobId(id)) << id;
  }
  EXPECT_FALSE(IsJobId(std::string(64, 'a')));
}

TEST(NamesTest, WorkerIdsAreHostNames) {
  for (const char* id : {"a", "node-1", "gpu0.example.org", "0"}) EXPECT_TRUE(IsWorkerId(id)) << id;
  for (const char* id : {"", "-a", "a-", ".a", "A", "a b", "a/b"})
    EXPECT_FALSE(IsWorkerId(id)) << id;
  EXPECT_TRUE(IsWorkerId(std::string(63, 'a')));
  EXPECT_FALSE(IsWorkerId(std::string(64, 'a')));
}

TEST(NamesTest, QueueNamesAreLowerCaseWords) {
  for (const char* name : {"default", "research-2", "a"}) EXPECT_TRUE(IsQueueName(name)) << name;
  for (const char* name : {"", "Research", "a.b", "-a", "a-", "a b"}) {
    EXPECT_FALSE(IsQueueName(name)) << name;
  }
}

TEST(NamesTest, WorkerLabelsAreAKeyAndAValue) {
  for (const char* label : {"gpu=h100", "example.org/zone=eu-1", "A_b=0"}) {
    EXPECT_TRUE(IsWorkerLabel(label)) << label;
  }
  for (const char* label : {"", "gpu", "gpu=", "=h100", "a=b=c", "a b=c", "a=b\n"}) {
    EXPECT_FALSE(IsWorkerLabel(label)) << label;
  }
  EXPECT_FALSE(IsWorkerLabel("k=" + std::string(64, 'a')));
}

}  // namespace
}  // namespace longlora::common
