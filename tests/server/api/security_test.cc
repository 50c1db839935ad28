// Goal: nobody gets in who should not. Method: try: without a token, with a wrong one, with two, in
// plain text where TLS is asked for, with no or a foreign client certificate; certificates are made
// by openssl.
#include <grpcpp/grpcpp.h>
#include <grpcpp/impl/codegen/client_unary_call.h>
#include <gtest/gtest.h>
#include <health.pb.h>
#include <sys/stat.h>

#include <cstdlib>
#include <fstream>

#include "gmock/gmock.h"
#include "tests/server/api/test_server.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temporary_directory.h"

namespace longlora::server {
namespace {

using ::longlora::testing::StatusIs;
using ::testing::HasSubstr;

constexpr char kToken[] = "correct-horse";

std::string WriteToken(const std::string& path, const std::string& token) {
  std::ofstream(path) << token << "\n";
  chmod(path.c_str(), 0600);
  return path;
}

// What a client is given; empty: none.
rpc::ClientSecurity With(const std::string& tls_ca, const std::string& tls_cert = "",
                         const std::string& tls_key = "", const std::string& token_file = "") {
  rpc::ClientSecurity security;
  security.tls_ca = tls_ca;
  security.tls_cert = tls_cert;
  security.tls_key = tls_key;
  security.token_file = token_file;
  return security;
}

grpc::Status ListJobs(v1::FineTuneService::Stub& stub, const std::vector<std::string>& headers) {
  grpc::ClientContext context;
  for (const std::string& header : headers) context.AddMetadata("authorization", header);
  v1::ListFineTuneJobsResponse response;
  return stub.ListFineTuneJobs(&context, {}, &response);
}

class TokenTest : public ::testing::Test {
 protected:
  TokenTest()
      : server_(
            [this](ServerConfig& config) {
              config.token_file = WriteToken(directory_ / "token", kToken);
            },
            With("", "", "", WriteToken(directory_ / "client-token", kToken))),
        stranger_(v1::FineTuneService::NewStub(rpc::MakeChannel(server_.address(), {}).value())) {}

  testing::TemporaryDirectory directory_;
  TestServer server_;
  std::unique_ptr<v1::FineTuneService::Stub> stranger_;
};

TEST_F(TokenTest, RightTokenOpensUnaryCallsAndStreams) {
  EXPECT_TRUE(ListJobs(server_.jobs(), {}).ok());
  server_.Synchronize({}, 0);
  v1::WatchFineTuneJobRequest request;
  request.set_name(server_.Create().name());
  grpc::ClientContext context;
  auto reader = server_.jobs().WatchFineTuneJob(&context, request);
  v1::WatchFineTuneJobResponse update;
  EXPECT_TRUE(reader->Read(&update));
  context.TryCancel();
  reader->Finish();
}

TEST_F(TokenTest, EveryOtherHeaderIsRefused) {
  const std::vector<std::vector<std::string>> wrong = {
      {},
      {""},
      {"Bearer"},
      {"Bearer "},
      {"Bearer wrong"},
      {"Bearer correct-hors"},
      {"Bearer correct-horse-battery"},
      {"Bearer CORRECT-HORSE"},
      {std::string("Basic ") + kToken},
      {kToken},
      {std::string("Bearer ") + kToken, "Bearer wrong"},
      {"Bearer wrong", std::string("Bearer ") + kToken},
      {"Bearer " + std::string(10'000, 'x')},
  };
  for (const auto& headers : wrong) {
    SCOPED_TRACE(headers.empty() ? "none" : headers[0].substr(0, 40));
    EXPECT_EQ(ListJobs(*stranger_, headers).error_code(), grpc::StatusCode::UNAUTHENTICATED);
  }
}

TEST_F(TokenTest, EveryKindOfCallAsksForTheToken) {
  const auto channel = rpc::MakeChannel(server_.address(), {}).value();
  const auto expect_refused = [](const grpc::Status& status) {
    EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAUTHENTICATED) << status.error_message();
  };
  {  // server stream, served by callbacks
    grpc::ClientContext context;
    auto reader = stranger_->WatchFineTuneJob(&context, {});
    v1::WatchFineTuneJobResponse update;
    EXPECT_FALSE(reader->Read(&update));
    expect_refused(reader->Finish());
  }
  {  // server stream, served by threads
    grpc::ClientContext context;
    auto reader = stranger_->DownloadArtifact(&context, {});
    v1::DownloadArtifactResponse response;
    EXPECT_FALSE(reader->Read(&response));
    expect_refused(reader->Finish());
  }
  {  // client stream
    grpc::ClientContext context;
    v1::File file;
    auto stub = v1::FileService::NewStub(channel);
    auto writer = stub->UploadFile(&context, &file);
    writer->WritesDone();
    expect_refused(writer->Finish());
  }
  {
    grpc::ClientContext context;
    worker::v1::SynchronizeResponse response;
    auto stub = worker::v1::WorkerService::NewStub(channel);
    expect_refused(stub->Synchronize(&context, {}, &response));
  }
  {
    grpc::ClientContext context;
    v1::ListWorkersResponse response;
    auto stub = v1::WorkerDirectoryService::NewStub(channel);
    expect_refused(stub->ListWorkers(&context, {}, &response));
  }
  // Reflection tells the API; it is behind the token too. Any message would do.
  grpc::ClientContext context;
  grpc::internal::RpcMethod method("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
                                   grpc::internal::RpcMethod::NORMAL_RPC);
  grpc::health::v1::HealthCheckResponse response;
  expect_refused(grpc::internal::BlockingUnaryCall(
      channel.get(), method, &context, grpc::health::v1::HealthCheckRequest(), &response));
}

TEST_F(TokenTest, HealthIsOpenForEveryServiceAndTheWhole) {
  const auto channel = rpc::MakeChannel(server_.address(), {}).value();
  grpc::internal::RpcMethod method("/grpc.health.v1.Health/Check",
                                   grpc::internal::RpcMethod::NORMAL_RPC);
  for (const char* service :
       {"", "longlora.v1.FineTuneService", "longlora.v1.FileService",
        "longlora.v1.WorkerDirectoryService", "longlora.worker.v1.WorkerService"}) {
    grpc::health::v1::HealthCheckRequest request;
    request.set_service(service);
    grpc::health::v1::HealthCheckResponse response;
    grpc::ClientContext context;
    const grpc::Status status =
        grpc::internal::BlockingUnaryCall(channel.get(), method, &context, request, &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    EXPECT_EQ(response.status(), grpc::health::v1::HealthCheckResponse::SERVING) << service;
  }
}

TEST(TokenFileTest, UnusableTokenFilesKeepTheServerFromStarting) {
  testing::TemporaryDirectory directory;
  ServerConfig config;
  config.data_dir = directory / "data";
  config.listen = "127.0.0.1:0";
  config.metrics_listen = "";
  config.token_file = directory / "absent";
  EXPECT_THAT(Server::Start(config), StatusIs(absl::StatusCode::kNotFound, "absent"));
  config.token_file = WriteToken(directory / "open", "x");
  chmod(config.token_file.c_str(), 0644);
  EXPECT_THAT(Server::Start(config), StatusIs(absl::StatusCode::kInvalidArgument, "everybody"));
  config.token_file = WriteToken(directory / "empty", "");
  EXPECT_THAT(Server::Start(config), StatusIs(absl::StatusCode::kInvalidArgument, "empty"));
}

TEST(PlainTextTest, IsServedOnLoopbackOnlyUnlessAllowed) {
  testing::TemporaryDirectory directory;
  ServerConfig config;
  config.data_dir = directory / "data";
  config.listen = "0.0.0.0:0";
  config.metrics_listen = "";
  EXPECT_THAT(Server::Start(config),
              StatusIs(absl::StatusCode::kInvalidArgument, "--allow-plaintext"));
  config.security.allow_plaintext = true;
  EXPECT_OK(Server::Start(config));
}

TEST(DataDirectoryTest, SecondServerIsKeptOut) {
  TestServer server;
  ServerConfig config = server.config();
  EXPECT_THAT(Server::Start(config),
              StatusIs(absl::StatusCode::kFailedPrecondition, "another longlora-server"));
}

TEST(LimitsTest, LargeMetadataIsRefusedAndHurtsNobodyElse) {
  TestServer server;
  // A connection of its own: channels of a process share theirs otherwise, and gRPC may close the
  // one that the refused call came by.
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  const auto stub = v1::FineTuneService::NewStub(
      grpc::CreateCustomChannel(server.address(), grpc::InsecureChannelCredentials(), arguments));
  grpc::ClientContext context;
  context.AddMetadata("x-large", std::string(64 << 10, 'x'));
  v1::ListFineTuneJobsResponse response;
  EXPECT_EQ(stub->ListFineTuneJobs(&context, {}, &response).error_code(),
            grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_TRUE(ListJobs(server.jobs(), {}).ok());
}

// Two authorities, a server certificate of the first, client certificates of both.
class TlsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    Authority("ca");
    Authority("other-ca");
    Certificate("server", "ca");
    Certificate("client", "ca");
    Certificate("foreign", "other-ca");
  }
  std::string Path(const std::string& name) const { return directory_ / name; }
  void Run(const std::string& command) {
    const std::string line = "cd '" + directory_.path() + "' && " + command +
                             " >openssl.log 2>&1 || { cat openssl.log; exit 1; }";
    ASSERT_EQ(std::system(line.c_str()), 0) << command;
  }
  void Authority(const std::string& name) {
    Run("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=" +
        name + " -keyout " + name + ".key -out " + name + ".pem");
  }
  void Certificate(const std::string& name, const std::string& authority) {
    Run("openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=" + name +
        " -addext subjectAltName=DNS:localhost -keyout " + name + ".key -out " + name + ".csr");
    Run("openssl x509 -req -in " + name + ".csr -CA " + authority + ".pem -CAkey " + authority +
        ".key -CAcreateserial -days 2 -copy_extensions copy -out " + name + ".pem");
  }
  std::function<void(ServerConfig&)> ServeTls(bool client_certificates) {
    return [=, this](ServerConfig& config) {
      config.security.tls_cert = Path("server.pem");
      config.security.tls_key = Path("server.key");
      if (client_certificates) config.security.tls_client_ca = Path("ca.pem");
    };
  }
  // A call by a client with `security`, which gives up soon when no connection comes about.
  grpc::Status CallWith(const TestServer& server, const rpc::ClientSecurity& security) {
    const auto channel = rpc::MakeChannel(server.address(), security);
    EXPECT_OK(channel);
    auto stub = v1::FineTuneService::NewStub(*channel);
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(20));
    v1::ListFineTuneJobsResponse response;
    return stub->ListFineTuneJobs(&context, {}, &response);
  }

  testing::TemporaryDirectory directory_;
};

TEST_F(TlsTest, ServesThoseWhoTrustItsAuthorityAndNotPlainText) {
  TestServer server(ServeTls(false), With(Path("ca.pem")));
  EXPECT_TRUE(CallWith(server, With(Path("ca.pem"))).ok());
  EXPECT_EQ(CallWith(server, With(Path("other-ca.pem"))).error_code(),
            grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(CallWith(server, {}).error_code(), grpc::StatusCode::UNAVAILABLE);
}

TEST_F(TlsTest, ClientCertificateOfTheRightAuthorityIsAskedFor) {
  const rpc::ClientSecurity right = With(Path("ca.pem"), Path("client.pem"), Path("client.key"));
  TestServer server(ServeTls(true), right);
  EXPECT_TRUE(CallWith(server, right).ok());
  EXPECT_EQ(CallWith(server, With(Path("ca.pem"))).error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(
      CallWith(server, With(Path("ca.pem"), Path("foreign.pem"), Path("foreign.key"))).error_code(),
      grpc::StatusCode::UNAVAILABLE);
}

TEST_F(TlsTest, TokenIsAskedForOverTlsToo) {
  const std::string token = WriteToken(Path("token"), kToken);
  TestServer server(
      [&](ServerConfig& config) {
        ServeTls(false)(config);
        config.token_file = token;
      },
      With(Path("ca.pem"), "", "", token));
  EXPECT_TRUE(CallWith(server, With(Path("ca.pem"), "", "", token)).ok());
  EXPECT_EQ(CallWith(server, With(Path("ca.pem"))).error_code(), grpc::StatusCode::UNAUTHENTICATED);
}

TEST_F(TlsTest, BadCertificateFilesKeepTheServerFromStarting) {
  ServerConfig config;
  config.data_dir = Path("data");
  config.listen = "127.0.0.1:0";
  config.metrics_listen = "";
  config.security.tls_cert = Path("server.pem");
  EXPECT_THAT(Server::Start(config), StatusIs(absl::StatusCode::kInvalidArgument, "--tls-key"));
  config.security.tls_key = Path("ca.key");
  EXPECT_FALSE(Server::Start(config).ok());
}

}  // namespace
}  // namespace longlora::server
