// Goal: a dataset is the same whatever it is packed in, and a broken or malicious file is refused
// with its place. Method: the same lines written plain, by zlib and by libzstd; Parquet files that
// pyarrow wrote (testdata/); then files cut short, damaged and blown up.
#include <zlib.h>
#include <zstd.h>

#include <string>
#include <vector>

#include "common/io/files.h"
#include "gmock/gmock.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temporary_directory.h"
#include "worker/trainer/data/byte_source.h"
#include "worker/trainer/data/record_reader.h"

namespace longlora::trainer {
namespace {

using ::longlora::testing::StatusIs;
using ::testing::ElementsAre;

std::string Gzip(const std::string& text) {
  z_stream stream = {};
  EXPECT_EQ(deflateInit2(&stream, 6, Z_DEFLATED, MAX_WBITS + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
  std::string packed(deflateBound(&stream, text.size()) + 64, '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  stream.avail_in = static_cast<uInt>(text.size());
  stream.next_out = reinterpret_cast<Bytef*>(packed.data());
  stream.avail_out = static_cast<uInt>(packed.size());
  EXPECT_EQ(deflate(&stream, Z_FINISH), Z_STREAM_END);
  packed.resize(stream.total_out);
  deflateEnd(&stream);
  return packed;
}

std::string Zstd(const std::string& text) {
  ZSTD_CCtx* const context = ZSTD_createCCtx();
  ZSTD_CCtx_setParameter(context, ZSTD_c_checksumFlag, 1);  // as the program zstd does
  std::string packed(ZSTD_compressBound(text.size()), '\0');
  packed.resize(ZSTD_compress2(context, packed.data(), packed.size(), text.data(), text.size()));
  ZSTD_freeCCtx(context);
  return packed;
}

class ContainersTest : public ::testing::Test {
 protected:
  absl::StatusOr<std::vector<std::string>> Read(const std::string& content,
                                                int64_t bytes_max = 1 << 20) {
    EXPECT_OK(common::AtomicWriteFile(directory_ / "data", content));
    auto reader = RecordReader::Open(directory_ / "data", bytes_max);
    if (!reader.ok()) return reader.status();
    std::vector<std::string> lines;
    std::string line;
    while (true) {
      const absl::StatusOr<bool> more = (*reader)->Next(line);
      if (!more.ok()) return more.status();
      if (!*more) return lines;
      lines.push_back(line);
    }
  }
  testing::TemporaryDirectory directory_;
};

TEST_F(ContainersTest, LinesAreTheSameInEveryContainer) {
  std::string text;
  std::vector<std::string> lines;
  for (int i = 0; i < 50000; ++i) {  // several blocks
    lines.push_back("{\"text\": \"line " + std::to_string(i * 7919 % 50021) + "\"}");
    text += lines.back() + "\n";
  }
  const std::string half = text.substr(0, 500001), rest = text.substr(500001);
  for (const std::string& content :
       {text, Gzip(text), Zstd(text), Gzip(half) + Gzip(rest), Zstd(half) + Zstd(rest)}) {
    ASSERT_OK_AND_ASSIGN(const auto found, Read(content));
    EXPECT_TRUE(found == lines);
  }
}

TEST_F(ContainersTest, ParquetRowsAreObjects) {
  const auto read = [&](const std::string& name) {
    return Read(*common::ReadFile(std::string(LONGLORA_TESTDATA) + "/" + name, 1 << 20));
  };
  EXPECT_THAT(
      *read("chat.parquet"),
      ElementsAre("{\"id\":7,\"messages\":[{\"role\":\"user\",\"content\":\"one\"},{\"role\":"
                  "\"assistant\",\"content\":\"two \\\"日本\\\" \\n\"}]}",
                  "{\"id\":8,\"messages\":[{\"role\":\"assistant\",\"content\":\"\"}]}",
                  "{\"id\":9,\"messages\":[{\"role\":\"user\",\"content\":null}]}"));
  EXPECT_THAT(*read("tokens.parquet"), ElementsAre("{\"input_ids\":[1,2,3],\"labels\":[-100,2,3]}",
                                                   "{\"input_ids\":[4,5],\"labels\":null}",
                                                   "{\"input_ids\":[6,7],\"labels\":[-100,7]}"));
  const auto text = ElementsAre("{\"text\":\"é\"}", "{\"text\":\"\"}",
                                "{\"text\":\"" + std::string(1000, 'a') + "\"}");
  EXPECT_THAT(*read("text.parquet"), text);
  EXPECT_THAT(*read("text_lz4.parquet"), text);
}

TEST_F(ContainersTest, BrokenParquetFilesAreRefusedAndNeverCrash) {
  const std::string good =
      *common::ReadFile(std::string(LONGLORA_TESTDATA) + "/chat.parquet", 1 << 20);
  EXPECT_THAT(Read(good.substr(0, good.size() / 2)),
              StatusIs(absl::StatusCode::kInvalidArgument, "broken Parquet file"));
  int refused = 0;
  for (size_t i = 4; i < good.size(); ++i) {
    std::string damaged = good;
    damaged[i] = static_cast<char>(damaged[i] ^ 0x41);
    const auto result = Read(damaged);
    refused += !result.ok();
    if (result.ok()) continue;  // a byte that decides nothing, or only the words
    EXPECT_THAT(result, StatusIs(absl::StatusCode::kInvalidArgument, "Parquet"));
  }
  EXPECT_GT(refused, static_cast<int>(good.size() / 10));
}

TEST_F(ContainersTest, SmallAndEmptyFilesAreRead) {
  for (const std::string& text : {std::string(), std::string("a"), std::string("{}\n")}) {
    for (const std::string& content : {text, Gzip(text), Zstd(text)}) {
      ASSERT_OK_AND_ASSIGN(const auto found, Read(content));
      EXPECT_EQ(found.size(), text.empty() ? 0u : 1u);
    }
  }
}

TEST_F(ContainersTest, BrokenFilesAreRefusedWithTheLine) {
  std::string text;
  for (int i = 0; i < 200000; ++i) text += std::to_string(i * 7919 % 200003) + "\n";
  for (const std::string& whole : {Gzip(text), Zstd(text)}) {
    const std::string cut = whole.substr(0, whole.size() / 2);
    const auto result = Read(cut);
    EXPECT_THAT(result, StatusIs(absl::StatusCode::kInvalidArgument, "ends before its end"));
    EXPECT_THAT(std::string(result.status().message()), ::testing::ContainsRegex("line [0-9]{4,}"));
    std::string damaged = whole;
    for (size_t i = damaged.size() / 2; i < damaged.size() / 2 + 64; ++i) damaged[i] ^= 0x55;
    EXPECT_THAT(Read(damaged), StatusIs(absl::StatusCode::kInvalidArgument, "broken "));
  }
  // The shortest cut: only the magic number is left.
  EXPECT_THAT(Read("\x1f\x8b"), StatusIs(absl::StatusCode::kInvalidArgument, "line 1: the gzip"));
  EXPECT_THAT(Read("\x28\xb5\x2f\xfd"),
              StatusIs(absl::StatusCode::kInvalidArgument, "line 1: the zstd"));
  EXPECT_THAT(Read("PAR1 but nothing else"),
              StatusIs(absl::StatusCode::kInvalidArgument, "broken Parquet file"));
}

TEST_F(ContainersTest, ALineThatNeverEndsIsRefusedBeforeItFillsTheMemory) {
  EXPECT_THAT(Read(Gzip(std::string(64 << 20, 'a'))),
              StatusIs(absl::StatusCode::kInvalidArgument, "longer than 1048576 bytes"));
}

TEST_F(ContainersTest, ADecompressionBombOfBlankLinesIsRefused) {
  // 2 GiB of line breaks in some kilobytes.
  std::string packed;
  for (const std::string frame = Zstd(std::string(64 << 20, '\n'));
       packed.size() < 32 * frame.size();)
    packed += frame;
  ASSERT_LT(packed.size(), size_t{1} << 20);
  EXPECT_OK(common::AtomicWriteFile(directory_ / "bomb", packed));
  ASSERT_OK_AND_ASSIGN(const auto source, ByteSource::Open(directory_ / "bomb"));
  std::string buffer(1 << 20, '\0');
  absl::StatusOr<size_t> count = size_t{1};
  while (count.ok() && *count > 0) count = source->Read(buffer.data(), buffer.size());
  EXPECT_THAT(count, StatusIs(absl::StatusCode::kInvalidArgument, "decompression bomb"));
}

TEST(ContainerOfTest, KnowsFilesByTheirFirstBytes) {
  EXPECT_EQ(ContainerOf("{\"te"), Container::kPlain);
  EXPECT_EQ(ContainerOf(""), Container::kPlain);
  EXPECT_EQ(ContainerOf("\x1f\x8b\x08"), Container::kGzip);
  EXPECT_EQ(ContainerOf("\x28\xb5\x2f\xfd"), Container::kZstd);
  EXPECT_EQ(ContainerOf("\x53\x2a\x4d\x18"), Container::kZstd);
  EXPECT_EQ(ContainerOf("PAR1"), Container::kParquet);
}

}  // namespace
}  // namespace longlora::trainer
