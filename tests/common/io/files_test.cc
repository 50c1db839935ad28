// Goal: files are whole or absent, errors name the path, no relative path escapes. Method: a
// temporary directory; full disks by /dev/full.
#include "common/io/files.h"

#include <sys/stat.h>

#include "gmock/gmock.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temporary_directory.h"

namespace longlora::common {
namespace {

using ::longlora::testing::StatusIs;
using ::longlora::testing::TemporaryDirectory;
using ::testing::ElementsAre;

TEST(AtomicWriteFileTest, ReplacesTheContentAndLeavesNothingElseBehind) {
  TemporaryDirectory directory;
  ASSERT_OK(AtomicWriteFile(directory / "a", "old"));
  ASSERT_OK(AtomicWriteFile(directory / "a", "new"));
  ASSERT_OK_AND_ASSIGN(const std::string content, ReadFile(directory / "a", 100));
  EXPECT_EQ(content, "new");
  ASSERT_OK_AND_ASSIGN(const std::vector<std::string> files, ListFiles(directory.path()));
  EXPECT_THAT(files, ElementsAre("a"));
}

TEST(AtomicWriteFileTest, KeepsTheOldContentWhenItFails) {
  TemporaryDirectory directory;
  ASSERT_OK(CreateDirectories(directory / "a/b"));  // a directory cannot be replaced by a file
  EXPECT_THAT(AtomicWriteFile(directory / "a", "new"),
              StatusIs(absl::StatusCode::kUnavailable, "/a"));
  ASSERT_OK_AND_ASSIGN(const std::vector<std::string> files, ListFiles(directory.path()));
  EXPECT_THAT(files, ElementsAre());
}

TEST(ReadFileTest, RefusesMoreThanTheLimit) {
  TemporaryDirectory directory;
  ASSERT_OK(AtomicWriteFile(directory / "a", "12345"));
  EXPECT_OK(ReadFile(directory / "a", 5));
  EXPECT_THAT(ReadFile(directory / "a", 4),
              StatusIs(absl::StatusCode::kOutOfRange, "larger than 4"));
}

TEST(ReadFileTest, NamesTheMissingFile) {
  EXPECT_THAT(ReadFile("/nowhere/x", 1), StatusIs(absl::StatusCode::kNotFound, "/nowhere/x"));
}

TEST(ErrnoStatusTest, ADiskThatIsFullIsResourceExhausted) {
  EXPECT_THAT(ErrnoStatus(ENOSPC, "write", "/x"),
              StatusIs(absl::StatusCode::kResourceExhausted, "/x"));
}

TEST(CreateDirectoriesTest, NewOnesAreForTheOwnerOnly) {
  TemporaryDirectory directory;
  ASSERT_OK(CreateDirectories(directory / "a/b"));
  ASSERT_OK(CreateDirectories(directory / "a/b"));
  struct stat info;
  ASSERT_EQ(stat((directory / "a/b").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0700u);
}

TEST(ListFilesTest, FindsAllBelowInOrder) {
  TemporaryDirectory directory;
  ASSERT_OK(CreateDirectories(directory / "b/c"));
  ASSERT_OK(AtomicWriteFile(directory / "b/c/z", ""));
  ASSERT_OK(AtomicWriteFile(directory / "b/a", ""));
  ASSERT_OK_AND_ASSIGN(const std::vector<std::string> files, ListFiles(directory.path()));
  EXPECT_THAT(files, ElementsAre("b/a", "b/c/z"));
}

TEST(IsSafeRelativePathTest, RefusesEveryWayOut) {
  for (const char* path : {"a", "a/b.c", "checkpoints/step-1/manifest.json", "..a", "a..b"}) {
    EXPECT_TRUE(IsSafeRelativePath(path)) << path;
  }
  for (const char* path : {"", "/a", "a/../b", "..", ".", "a//b", "a/", "./a", "a\nb"}) {
    EXPECT_FALSE(IsSafeRelativePath(path)) << path;
  }
  EXPECT_FALSE(IsSafeRelativePath(absl::string_view("a\0b", 3)));
  EXPECT_FALSE(IsSafeRelativePath(std::string(2000, 'a')));
}

}  // namespace
}  // namespace longlora::common
