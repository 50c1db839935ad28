// Goal: YAML means what its 1.2 core schema says and nothing else. Method: tables of scalars and of
// texts that must be refused, with the line.
#include "common/yaml/yaml.h"

#include "gmock/gmock.h"
#include "tests/testing/status_matchers.h"

namespace longlora::common {
namespace {

using ::longlora::testing::StatusIs;

TEST(YamlTest, PlainScalarsResolveByTheCoreSchema) {
  const std::map<std::string, std::string> kJson = {
      {"2.0e-5", "2e-05"},
      {"1e-5", "1e-05"},
      {"1E+3", "1000.0"},
      {"-1.5", "-1.5"},
      {".5", "0.5"},
      {"5.", "5.0"},
      {"8", "8"},
      {"-8", "-8"},
      {"+8", "8"},
      {"010", "10"},
      {"0o17", "15"},
      {"0x1F", "31"},
      {"true", "true"},
      {"False", "false"},
      {"yes", "\"yes\""},
      {"no", "\"no\""},
      {"on", "\"on\""},
      {"Off", "\"Off\""},
      {"~", "null"},
      {"null", "null"},
      {"", "null"},
      {"'8'", "\"8\""},
      {"\"true\"", "\"true\""},
      {"!!str 8", "\"8\""},
      {"1_000", "\"1_000\""},
      {"1e", "\"1e\""},
      {".", "\".\""},
      {"-", "[null]"},
      {"e5", "\"e5\""},
      {"1.2.3", "\"1.2.3\""},
      {"0x", "\"0x\""},
      {"12:30", "\"12:30\""},
      {"--8", "\"--8\""},
      {"+-8", "\"+-8\""},
      {"a b", "\"a b\""},
      {"[1, two]", "[1,\"two\"]"},
      {"{a: 1}", "{\"a\":1}"},
      {"9223372036854775807", "9223372036854775807"},
  };
  for (const auto& [text, json] : kJson) {
    const absl::StatusOr<YamlDocument> document =
        ParseYaml(text == "-" ? "key:\n  -" : absl::StrCat("key: ", text));
    ASSERT_OK(document) << text;
    EXPECT_EQ(document->value["key"].dump(), json) << text;
  }
}

TEST(YamlTest, KnowsTheLineOfEveryKey) {
  ASSERT_OK_AND_ASSIGN(const YamlDocument document, ParseYaml("# comment\n"
                                                              "a: 1\n"
                                                              "b:\n"
                                                              "  c: {d: 2,\n"
                                                              "      e: 3}\n"));
  EXPECT_EQ(document.lines, (std::map<std::string, int>{
                                {"a", 2}, {"b", 3}, {"b.c", 4}, {"b.c.d", 4}, {"b.c.e", 5}}));
}

TEST(YamlTest, AliasesAreCopies) {
  ASSERT_OK_AND_ASSIGN(const YamlDocument document, ParseYaml("a: &x {k: 1}\nb: *x\n"));
  EXPECT_EQ(document.value.dump(), R"({"a":{"k":1},"b":{"k":1}})");
}

TEST(YamlTest, RefusesWhatCouldMeanTwoThings) {
  struct Case {
    const char* text;
    const char* message;
  };
  const Case kCases[] = {
      {"a: 1\nb: 2\na: 3\n", "line 3: the key a is given twice"},
      {"a:\n  k: 1\n  k: 1\n", "line 3: the key k is given twice"},
      {"a: .inf\n", "line 1: .inf is not a finite number"},
      {"\na: -.Inf\n", "line 2: -.Inf is not a finite number"},
      {"a: .nan\n", "line 1: .nan is not a finite number"},
      {"a: 1e999\n", "line 1: 1e999 is too large"},
      {"a: 99999999999999999999\n", "line 1: 99999999999999999999 is too large"},
      {"a: !!binary aGk=\n", "line 1: tag tag:yaml.org,2002:binary is not supported"},
      {"a: !mine 1\n", "line 1: tag !mine is not supported"},
      {"? [1, 2]\n: 3\n", "a key must be a plain word"},
      {"a: 1\n---\nb: 2\n", "a second document begins"},
      {"a: &x [*x]\n", "line 1: "},
      {"a: [1, 2\n", "line "},
      {"a: 1\n b: 2\n", "line 2: "},
      {"\tb: 2\n", "line 1: "},
      {"", "nothing is written here"},
      {"# only a comment\n", "nothing is written here"},
  };
  for (const Case& c : kCases) {
    EXPECT_THAT(ParseYaml(c.text), StatusIs(absl::StatusCode::kInvalidArgument, c.message))
        << c.text;
  }
}

TEST(YamlTest, BillionLaughsStopEarly) {
  std::string text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n";
  for (int i = 1; i < 12; ++i) {
    absl::StrAppend(&text, "a", i, ": &a", i, " [");
    for (int k = 0; k < 10; ++k) absl::StrAppend(&text, "*a", i - 1, k < 9 ? ", " : "]\n");
  }
  EXPECT_THAT(ParseYaml(text), StatusIs(absl::StatusCode::kInvalidArgument, "too many values"));
}

TEST(YamlTest, DeepNestingIsRefused) {
  EXPECT_THAT(ParseYaml(absl::StrCat("a: ", std::string(100, '['), std::string(100, ']'))),
              StatusIs(absl::StatusCode::kInvalidArgument, "nested too deeply"));
  EXPECT_FALSE(ParseYaml(std::string(100'000, '[')).ok());
}

}  // namespace
}  // namespace longlora::common
