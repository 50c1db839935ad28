// Goal: nothing goes over a network in plain text by accident, no secret lies open. Method:
// combinations of address and flags; files with wrong modes.
#include "rpc/credentials.h"

#include <sys/stat.h>

#include "common/io/files.h"
#include "gmock/gmock.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temporary_directory.h"

namespace longlora::rpc {
namespace {

using ::longlora::testing::StatusIs;

TEST(IsLoopbackTest, KnowsItsOwn) {
  for (const char* address : {"127.0.0.1:1", "127.9.9.9:1", "localhost:1", "[::1]:1"}) {
    EXPECT_TRUE(IsLoopback(address)) << address;
  }
  for (const char* address : {"0.0.0.0:1", "[::]:1", "192.168.0.1:1", "example.org:1", ":1", "",
                              "127.0.0.1.evil.org:1", "[::1", "localhost.evil.org:1"}) {
    EXPECT_FALSE(IsLoopback(address)) << address;
  }
}

TEST(ServerCredentialsTest, PlainTextNeedsLoopbackOrInsistence) {
  EXPECT_OK(MakeServerCredentials({}, "127.0.0.1:0"));
  EXPECT_THAT(MakeServerCredentials({}, "0.0.0.0:7400"),
              StatusIs(absl::StatusCode::kInvalidArgument, "--allow-plaintext"));
  ServerSecurity insists;
  insists.allow_plaintext = true;
  EXPECT_OK(MakeServerCredentials(insists, "0.0.0.0:7400"));
}

TEST(ServerCredentialsTest, HalfAConfigurationIsRefused) {
  ServerSecurity half;
  half.tls_cert = "/cert.pem";
  EXPECT_THAT(MakeServerCredentials(half, "127.0.0.1:0"),
              StatusIs(absl::StatusCode::kInvalidArgument, "go together"));
  ServerSecurity ca_only;
  ca_only.tls_client_ca = "/ca.pem";
  EXPECT_THAT(MakeServerCredentials(ca_only, "127.0.0.1:0"),
              StatusIs(absl::StatusCode::kInvalidArgument, "--tls-client-ca"));
}

TEST(ServerCredentialsTest, AMissingOrWrongFileIsNamed) {
  testing::TemporaryDirectory directory;
  ServerSecurity security;
  security.tls_cert = directory / "cert.pem";
  security.tls_key = directory / "key.pem";
  EXPECT_THAT(MakeServerCredentials(security, "127.0.0.1:0"),
              StatusIs(absl::StatusCode::kNotFound, "cert.pem"));
  ASSERT_OK(common::AtomicWriteFile(security.tls_cert, "not pem"));
  EXPECT_THAT(MakeServerCredentials(security, "127.0.0.1:0"),
              StatusIs(absl::StatusCode::kInvalidArgument, "is not a PEM file"));
}

TEST(ChannelCredentialsTest, PlainTextNeedsLoopbackOrInsistence) {
  EXPECT_OK(MakeChannelCredentials({}, "localhost:7400"));
  EXPECT_THAT(MakeChannelCredentials({}, "gpu1:7400"),
              StatusIs(absl::StatusCode::kInvalidArgument, "--tls"));
}

TEST(ReadTokenTest, TakesTheFirstLineOfAPrivateFile) {
  testing::TemporaryDirectory directory;
  const std::string file = directory / "token";
  ASSERT_OK(common::AtomicWriteFile(file, " secret \nmore"));
  ASSERT_OK_AND_ASSIGN(const std::string token, ReadToken(file));
  EXPECT_EQ(token, "secret");

  chmod(file.c_str(), 0644);
  EXPECT_THAT(ReadToken(file), StatusIs(absl::StatusCode::kInvalidArgument, "chmod 600"));
  ASSERT_OK(common::AtomicWriteFile(file, "\n"));
  EXPECT_THAT(ReadToken(file), StatusIs(absl::StatusCode::kInvalidArgument, "is empty"));
  EXPECT_THAT(ReadToken(directory / "none"), StatusIs(absl::StatusCode::kNotFound, "none"));
}

}  // namespace
}  // namespace longlora::rpc
