// Goal: digests are SHA-256. Method: the examples of FIPS 180-4.
#include "common/io/sha256.h"

#include "common/io/files.h"
#include "gmock/gmock.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temporary_directory.h"

namespace longlora::common {
namespace {

constexpr char kAbc[] = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

TEST(Sha256Test, MatchesTheStandardsExamples) {
  EXPECT_EQ(Sha256Hex("abc"), kAbc);
  EXPECT_EQ(Sha256Hex(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

TEST(Sha256Test, PiecesGiveTheDigestOfTheWhole) {
  Sha256 hash;
  hash.Update("a");
  hash.Update("bc");
  EXPECT_EQ(hash.HexDigest(), kAbc);
}

TEST(Sha256Test, OfAFile) {
  testing::TemporaryDirectory directory;
  ASSERT_OK(AtomicWriteFile(directory / "f", "abc"));
  ASSERT_OK_AND_ASSIGN(const std::string digest, Sha256File(directory / "f"));
  EXPECT_EQ(digest, kAbc);
}

TEST(IsSha256HexTest, TakesNothingElse) {
  EXPECT_TRUE(IsSha256Hex(kAbc));
  EXPECT_FALSE(IsSha256Hex("abc"));
  std::string upper = kAbc;
  upper[0] = 'B';
  EXPECT_FALSE(IsSha256Hex(upper));
}

}  // namespace
}  // namespace longlora::common
