// Goal: every lie a safetensors header can tell is refused with the tensor's name, and what we
// write we read. Method: headers written by hand, each wrong in one way.
#include "worker/trainer/checkpoint/safetensors_header.h"

#include <ostream>
#include <string>

#include "gmock/gmock.h"
#include "tests/testing/status_matchers.h"

namespace longlora::trainer {
namespace {

using ::longlora::testing::StatusIs;
using ::testing::ElementsAre;

// A file: length field, `json`, `num_data` bytes.
std::string File(const std::string& json, size_t num_data) {
  std::string file;
  for (int i = 0; i < 8; ++i) file.push_back(static_cast<char>(json.size() >> (8 * i)));
  return file + json + std::string(num_data, 'x');
}

absl::StatusOr<SafetensorsHeader> Parse(const std::string& file) {
  return ParseSafetensorsHeader(file, static_cast<int64_t>(file.size()));
}

TEST(SafetensorsHeaderTest, AnHonestHeaderIsRead) {
  const auto header = Parse(File(
      R"({"__metadata__": {"format": "pt"},
          "b": {"dtype": "BF16", "shape": [2, 3], "data_offsets": [4, 16]},
          "a": {"dtype": "F32", "shape": [], "data_offsets": [0, 4]},
          "none": {"dtype": "I64", "shape": [0, 5], "data_offsets": [4, 4]}}   )",
      12 + 4));
  ASSERT_OK(header);
  EXPECT_EQ(header->metadata.at("format"), "pt");
  ASSERT_EQ(header->entries.size(), 3u);
  const SafetensorsEntry& b = header->entries.at("b");
  EXPECT_EQ(b.type, SafetensorsType::kBf16);
  EXPECT_THAT(b.shape, ElementsAre(2, 3));
  EXPECT_EQ(b.begin, 4);
  EXPECT_EQ(b.end, 16);
  EXPECT_TRUE(header->entries.at("a").shape.empty());
}

TEST(SafetensorsHeaderTest, AnEmptyFileOfTensorsIsRead) {
  const auto header = Parse(File("{}", 0));
  ASSERT_OK(header);
  EXPECT_TRUE(header->entries.empty());
}

TEST(SafetensorsHeaderTest, WhatIsWrittenIsRead) {
  SafetensorsEntry first = {SafetensorsType::kF32, {2}, 0, 8};
  SafetensorsEntry second = {SafetensorsType::kU8, {3, 1}, 8, 11};
  const std::string text =
      FormatSafetensorsHeader({{"z \"quoted\" \n", first}, {"a", second}}, {{"key", "value"}});
  EXPECT_EQ(text.size() % 8, 0u);
  const auto header = Parse(text + std::string(11, 'x'));
  ASSERT_OK(header);
  EXPECT_EQ(header->data_offset, static_cast<int64_t>(text.size()));
  EXPECT_EQ(header->entries.at("z \"quoted\" \n").end, 8);
  EXPECT_THAT(header->entries.at("a").shape, ElementsAre(3, 1));
  EXPECT_EQ(header->metadata.at("key"), "value");
}

struct Lie {
  const char* name;
  std::string file;
  const char* reason;
};

void PrintTo(const Lie& lie, std::ostream* out) { *out << lie.name; }

class SafetensorsLieTest : public ::testing::TestWithParam<Lie> {};

TEST_P(SafetensorsLieTest, IsRefused) {
  EXPECT_THAT(Parse(GetParam().file),
              StatusIs(absl::StatusCode::kInvalidArgument, GetParam().reason));
}

std::string Entry(const std::string& inside, size_t num_data = 4) {
  return File("{\"t\": {" + inside + "}}", num_data);
}
constexpr char kGood[] = R"("dtype": "F32", "shape": [1], "data_offsets": [0, 4])";

INSTANTIATE_TEST_SUITE_P(
    All, SafetensorsLieTest,
    ::testing::Values(
        Lie{"ShorterThanItsLengthField", "1234567", "truncated"},
        Lie{"HeaderBeyondTheFile", File("{}", 0).substr(0, 9),
            "truncated: the header should have 2 bytes"},
        Lie{"HeaderOver100Megabytes", std::string("\x01\xe1\xf5\x05\0\0\0\0{}", 10),
            "more than 100000000"},
        Lie{"HugeLength", std::string(8, '\xff') + "{}", "not a safetensors file"},
        Lie{"NoBrace", File("[]", 0), "does not begin with a brace"},
        Lie{"BlankBeforeBrace", File(" {}", 0), "does not begin with a brace"},
        Lie{"EmptyHeader", File("", 0), "does not begin with a brace"},
        Lie{"BrokenJson", File("{\"t\": }", 0), "not JSON from byte"},
        Lie{"TextBehindTheObject", File("{} {}", 0), "not JSON from byte"},
        Lie{"BrokenUtf8", File("{\"\xff\": {}}", 0), "not JSON from byte"},
        Lie{"DoubledTensor",
            File(std::string("{\"t\": {") + kGood + "}, \"t\": {" + kGood + "}}", 4),
            "doubled key \"t\""},
        Lie{"DoubledField", Entry(std::string(kGood) + R"(, "dtype": "F32")"),
            "tensor \"t\": doubled key \"dtype\""},
        Lie{"DoubledMetadata", File(R"({"__metadata__": {"a": "1", "a": "2"}})", 0),
            "doubled metadata key \"a\""},
        Lie{"MetadataThatIsNoText", File(R"({"__metadata__": {"a": 1}})", 0),
            "a number where none belongs"},
        Lie{"UnknownField", Entry(std::string(kGood) + R"(, "strides": [1])"),
            "tensor \"t\": unknown key \"strides\""},
        Lie{"MissingField", Entry(R"("dtype": "F32", "shape": [1])"),
            "dtype, shape or data_offsets is missing"},
        Lie{"UnknownType", Entry(R"("dtype": "F8_E4M3", "shape": [4], "data_offsets": [0, 4])"),
            "unknown type \"F8_E4M3\""},
        Lie{"TypeThatIsNoText", Entry(R"("dtype": 1, "shape": [1], "data_offsets": [0, 4])"),
            "where none belongs"},
        Lie{"TensorThatIsNoObject", File(R"({"t": [1]})", 0), "a list where none belongs"},
        Lie{"NestedShape", Entry(R"("dtype": "F32", "shape": [[1]], "data_offsets": [0, 4])"),
            "a list where none belongs"},
        Lie{"NegativeSize", Entry(R"("dtype": "F32", "shape": [-1], "data_offsets": [0, 4])"),
            "a negative number"},
        Lie{"FractionalSize", Entry(R"("dtype": "F32", "shape": [1.0], "data_offsets": [0, 4])"),
            "no integer"},
        Lie{"SizeBeyond63Bits",
            Entry(R"("dtype": "F32", "shape": [9223372036854775808], "data_offsets": [0, 4])"),
            "beyond 63 bits"},
        Lie{"OverflowingShape",
            Entry(R"("dtype": "F32", "shape": [4294967296, 4294967296], "data_offsets": [0, 0])"),
            "its shape overflows"},
        Lie{"OneOffset", Entry(R"("dtype": "F32", "shape": [1], "data_offsets": [4])"),
            "data_offsets are not two numbers"},
        Lie{"ThreeOffsets", Entry(R"("dtype": "F32", "shape": [1], "data_offsets": [0, 4, 4])"),
            "more than two data_offsets"},
        Lie{"RangeUnlikeTheShape", Entry(R"("dtype": "F32", "shape": [2], "data_offsets": [0, 4])"),
            "shape and type need 8 bytes, data_offsets are [0, 4)"},
        Lie{"BackwardsRange", Entry(R"("dtype": "F32", "shape": [1], "data_offsets": [4, 0])"),
            "data_offsets are [4, 0)"},
        Lie{"HoleBeforeTheFirst",
            Entry(R"("dtype": "F32", "shape": [1], "data_offsets": [4, 8])", 8),
            "begins at byte 4 after a hole"},
        Lie{"Overlap",
            File(R"({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
                               "t": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}})",
                 8),
            "tensor \"t\": its data begins at byte 4 inside another tensor's"},
        Lie{"Hole",
            File(R"({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]},
                            "t": {"dtype": "F32", "shape": [1], "data_offsets": [8, 12]}})",
                 12),
            "tensor \"t\": its data begins at byte 8 after a hole"},
        Lie{"TruncatedData", Entry(kGood, 3),
            "tensor \"t\": its data ends at byte 4 and the file holds 3: the file is truncated"},
        Lie{"BytesBehindTheData", Entry(kGood, 5),
            "1 bytes behind the last tensor belong to none"}),
    [](const ::testing::TestParamInfo<Lie>& info) { return std::string(info.param.name); });

// Whatever bytes are flipped or cut, the parser answers and never crashes; with all ranges inside
// the file.
TEST(SafetensorsHeaderTest, DamagedHeadersNeverGiveRangesOutsideTheFile) {
  const std::string whole =
      File(std::string("{\"t\": {") + kGood +
               R"(}, "u": {"dtype": "BF16", "shape": [2, 2], "data_offsets": [4, 12]}})",
           12);
  int num_accepted = 0;
  for (size_t i = 0; i < whole.size(); ++i) {
    for (int bit = 0; bit < 8; ++bit) {
      std::string damaged = whole;
      damaged[i] = static_cast<char>(damaged[i] ^ (1 << bit));
      const auto header = Parse(damaged);
      if (!header.ok()) continue;
      ++num_accepted;
      for (const auto& [name, entry] : header->entries) {
        EXPECT_GE(entry.begin, 0);
        EXPECT_LE(header->data_offset + entry.end, static_cast<int64_t>(damaged.size()));
      }
    }
    EXPECT_FALSE(Parse(whole.substr(0, i)).ok()) << "cut to " << i;
  }
  EXPECT_GT(num_accepted, 0);  // flips in names and in the data itself are not the header's to see
}

}  // namespace
}  // namespace longlora::trainer
