// Goal: the token cache never gives other tokens than a fresh reading, survives damage and a full
// disk, and is shared by those and only those who would make the same. Method: datasets read with
// and without it; files damaged byte by byte; keys told apart by the files they leave.
#include "worker/trainer/data/token_cache.h"

#include <sys/stat.h>

#include <filesystem>
#include <thread>

#include "common/io/files.h"
#include "gmock/gmock.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temporary_directory.h"
#include "tests/worker/trainer/data/word_tokenizer.h"
#include "worker/trainer/data/read_documents.h"

namespace longlora::trainer {
namespace {

namespace fs = std::filesystem;
using ::longlora::testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

void ExpectEqual(const Documents& a, const Documents& b) {
  ASSERT_EQ(a.num_documents(), b.num_documents());
  EXPECT_EQ(a.num_tokens(), b.num_tokens());
  EXPECT_EQ(a.skipped().count, b.skipped().count);
  EXPECT_EQ(a.skipped().first_line, b.skipped().first_line);
  for (int64_t d = 0; d < a.num_documents(); ++d) {
    EXPECT_EQ(a.ids(d), b.ids(d));
    EXPECT_EQ(a.labels(d), b.labels(d));
    EXPECT_EQ(a.record(d).line, b.record(d).line);
    EXPECT_EQ(a.record(d).num_head, b.record(d).num_head);
    EXPECT_EQ(a.record(d).answer_begin, b.record(d).answer_begin);
  }
}

class TokenCacheTest : public ::testing::Test {
 protected:
  TokenCacheTest() {
    WriteWordTokenizer(directory_.path());
    auto loaded = Tokenizer::Load(directory_.path());
    EXPECT_OK(loaded);
    tokenizer_ = std::make_unique<Tokenizer>(*std::move(loaded));
    std::string lines;
    for (int i = 0; i < 3000; ++i) {
      lines += i % 10 == 3 ? "\n"
                           : "{\"instruction\": \"one two three\", \"output\": \"four " +
                                 std::string(i % 4, 'x') + " five\"}\n";
    }
    Write(lines);
    options_.path = directory_ / "data.jsonl";
    options_.example = {.format = common::DatasetFormat::kInstruction,
                        .vocab_size = 10,
                        .tokenizer = tokenizer_.get()};
    options_.cache_directory = directory_ / "cache";
  }
  void Write(const std::string& content) {
    EXPECT_OK(common::AtomicWriteFile(directory_ / "data.jsonl", content));
  }
  absl::StatusOr<Documents> Read() {
    warnings_.clear();
    return ReadDocuments(options_, &warnings_);
  }
  absl::StatusOr<Documents> ReadFresh() {
    DocumentsOptions options = options_;
    options.cache_directory = "";
    options.num_threads = 1;
    return ReadDocuments(options);
  }
  std::vector<std::string> Caches() {
    std::vector<std::string> paths;
    for (const auto& entry : fs::directory_iterator(directory_ / "cache")) {
      if (entry.path().extension() != ".lock") paths.push_back(entry.path());
    }
    return paths;
  }

  testing::TemporaryDirectory directory_;
  std::unique_ptr<Tokenizer> tokenizer_;
  DocumentsOptions options_;
  std::vector<std::string> warnings_;
};

TEST_F(TokenCacheTest, GivesWhatAFreshReadingGives) {
  ASSERT_OK_AND_ASSIGN(const Documents fresh, ReadFresh());
  ASSERT_OK_AND_ASSIGN(const Documents made, Read());
  const auto paths = Caches();
  ASSERT_THAT(paths, SizeIs(1));
  const auto written = fs::last_write_time(paths[0]) - std::chrono::hours(5);
  fs::last_write_time(paths[0], written);
  ASSERT_OK_AND_ASSIGN(const Documents found, Read());
  ExpectEqual(fresh, made);
  ExpectEqual(fresh, found);
  EXPECT_EQ(fresh.num_documents(), 2700);
  EXPECT_THAT(warnings_, IsEmpty());
  // The same file, and its time says that it was used.
  EXPECT_EQ(Caches(), paths);
  EXPECT_GT(fs::last_write_time(paths[0]), written);
}

TEST_F(TokenCacheTest, EverythingThatChangesTokensChangesTheKey) {
  ASSERT_OK(Read());
  options_.example.train_on_prompt = true;
  ASSERT_OK(Read());
  EXPECT_THAT(Caches(), SizeIs(2));
  options_.example.vocab_size = 11;
  ASSERT_OK(Read());
  EXPECT_THAT(Caches(), SizeIs(3));
  Write("{\"instruction\": \"one\", \"output\": \"two\"}\n");
  ASSERT_OK(Read());
  EXPECT_THAT(Caches(), SizeIs(4));
  // Another token ends a text.
  ASSERT_OK(
      common::AtomicWriteFile(directory_ / "tokenizer_config.json", R"({"eos_token": "five"})"));
  ASSERT_OK_AND_ASSIGN(Tokenizer other, Tokenizer::Load(directory_.path()));
  options_.example.tokenizer = &other;
  ASSERT_OK_AND_ASSIGN(const Documents documents, Read());
  EXPECT_EQ(documents.ids(0).back(), 5);
  EXPECT_THAT(Caches(), SizeIs(5));
  // Another vocabulary in a file of the same size.
  ASSERT_OK_AND_ASSIGN(std::string json, common::ReadFile(directory_ / "tokenizer.json", 1 << 20));
  json.replace(json.find("\"two\": 2, \"three\": 3"), 20, "\"two\": 3, \"three\": 2");
  ASSERT_OK(common::AtomicWriteFile(directory_ / "tokenizer.json", json));
  ASSERT_OK_AND_ASSIGN(Tokenizer swapped, Tokenizer::Load(directory_.path()));
  options_.example.tokenizer = &swapped;
  ASSERT_OK(Read());
  EXPECT_THAT(Caches(), SizeIs(6));
}

TEST_F(TokenCacheTest, ADamagedCacheIsMadeAgainAloud) {
  ASSERT_OK_AND_ASSIGN(const Documents fresh, ReadFresh());
  ASSERT_OK(Read());
  const std::string path = Caches()[0];
  ASSERT_OK_AND_ASSIGN(const std::string good, common::ReadFile(path, 1 << 28));
  std::vector<std::string> bad = {"", good.substr(0, 100), good.substr(0, good.size() - 4),
                                  good + "more"};
  for (const size_t place : {size_t{3}, size_t{40}, size_t{90}, size_t{130}, size_t{250},
                             size_t{1000}, good.size() / 2, good.size() - 1}) {
    bad.push_back(good);
    bad.back()[place] ^= 1;
  }
  for (const std::string& content : bad) {
    ASSERT_OK(common::AtomicWriteFile(path, content));
    ASSERT_OK_AND_ASSIGN(const Documents documents, Read());
    ExpectEqual(fresh, documents);
    EXPECT_THAT(warnings_, ElementsAre(HasSubstr("is made again")));
    EXPECT_EQ(*common::ReadFile(path, 1 << 28), good);
  }
}

TEST_F(TokenCacheTest, AFolderThatCannotBeWrittenCostsOnlyTheCache) {
  ASSERT_OK(common::AtomicWriteFile(directory_ / "file", "x"));
  options_.cache_directory = directory_ / "file/cache";
  ASSERT_OK_AND_ASSIGN(const Documents documents, Read());
  ASSERT_OK_AND_ASSIGN(const Documents fresh, ReadFresh());
  ExpectEqual(fresh, documents);
  ASSERT_FALSE(warnings_.empty());
  EXPECT_THAT(warnings_.back(), HasSubstr("tokens stay in memory"));
}

TEST_F(TokenCacheTest, ABrokenDatasetLeavesNoCache) {
  std::string lines;
  for (int i = 0; i < 2000; ++i) lines += "{\"instruction\": \"one\", \"output\": \"two\"}\n";
  Write(lines + "{\"instruction\": \"one\"}\n" + lines + "{broken\n");
  for (int threads : {1, 4}) {
    options_.num_threads = threads;
    EXPECT_THAT(Read(), StatusIs(absl::StatusCode::kInvalidArgument,
                                 "line 2001: key \"output\" is missing"));
  }
  EXPECT_THAT(Caches(), IsEmpty());
}

TEST_F(TokenCacheTest, ManyReadersAtOnceMakeItOnceAndAgree) {
  ASSERT_OK_AND_ASSIGN(const Documents fresh, ReadFresh());
  std::vector<absl::StatusOr<Documents>> found(6, absl::UnknownError("not read"));
  std::vector<std::thread> threads;
  for (auto& slot : found) threads.emplace_back([&] { slot = ReadDocuments(options_); });
  for (std::thread& thread : threads) thread.join();
  for (const auto& slot : found) {
    ASSERT_OK(slot);
    ExpectEqual(fresh, *slot);
  }
  EXPECT_THAT(Caches(), SizeIs(1));
}

TEST_F(TokenCacheTest, CachesThatNobodyUsedForLongAreRemoved) {
  ASSERT_OK(Read());
  const std::string old = Caches()[0];
  fs::last_write_time(old, fs::file_time_type::clock::now() - std::chrono::hours(24 * 15));
  ASSERT_OK(common::AtomicWriteFile(directory_ / "cache/unrelated", "mine"));
  options_.example.train_on_prompt = true;
  ASSERT_OK(Read());
  EXPECT_FALSE(fs::exists(old));
  EXPECT_TRUE(fs::exists(directory_ / "cache/unrelated"));
}

}  // namespace
}  // namespace longlora::trainer
