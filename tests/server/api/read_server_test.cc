// Goal: the read address serves from the start, whether there is a database or not, says what it
// lacks, and asks for the token like any other. Method: a ReadServer without a database. With one:
// tests/integration/read_address_test.py.
#include "server/read_server.h"

#include <grpcpp/grpcpp.h>
#include <grpcpp/impl/codegen/client_unary_call.h>
#include <gtest/gtest.h>
#include <health.pb.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "longlora/v1/file_service.grpc.pb.h"
#include "rpc/channel.h"
#include "tests/server/api/test_server.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temporary_directory.h"

namespace longlora::server {
namespace {

using ::longlora::testing::StatusIs;

class ReadServerTest : public ::testing::Test {
 protected:
  ReadServerTest() {
    config_.data_dir = directory_ / "data";
    config_.store = "postgresql:///none?host=/nonexistent";
    config_.read_listen = "localhost:0";
  }
  void Start() { ASSERT_OK_AND_ASSIGN(server_, ReadServer::Start(config_)); }
  std::shared_ptr<grpc::Channel> Channel(const rpc::ClientSecurity& security = {}) {
    return rpc::MakeChannel(absl::StrCat("localhost:", server_->port()), security).value();
  }
  static grpc::Status List(const std::shared_ptr<grpc::Channel>& channel) {
    grpc::ClientContext context;
    v1::ListFineTuneJobsResponse response;
    return v1::FineTuneService::NewStub(channel)->ListFineTuneJobs(&context, {}, &response);
  }
  static grpc::Status GetFile(const std::shared_ptr<grpc::Channel>& channel) {
    grpc::ClientContext context;
    v1::File response;
    return v1::FileService::NewStub(channel)->GetFile(&context, {}, &response);
  }

  longlora::testing::TemporaryDirectory directory_;
  ServerConfig config_;
  std::unique_ptr<ReadServer> server_;
};

TEST_F(ReadServerTest, WithoutADatabaseItServesAndSaysSo) {
  Start();
  const grpc::Status status = List(Channel());
  EXPECT_EQ(ReasonOf(status), "STORAGE_UNAVAILABLE");
  EXPECT_NE(status.error_message().find("/nonexistent"), std::string::npos);
  EXPECT_EQ(ReasonOf(GetFile(Channel())), "READ_ONLY");
  EXPECT_FALSE(std::filesystem::exists(config_.data_dir)) << "it makes nothing";
}

TEST_F(ReadServerTest, HealthAnswersForItsServicesOnly) {
  Start();
  grpc::internal::RpcMethod method("/grpc.health.v1.Health/Check",
                                   grpc::internal::RpcMethod::NORMAL_RPC);
  const auto check = [&](const char* service) {
    grpc::health::v1::HealthCheckRequest request;
    request.set_service(service);
    grpc::health::v1::HealthCheckResponse response;
    grpc::ClientContext context;
    return grpc::internal::BlockingUnaryCall(Channel().get(), method, &context, request, &response)
        .error_code();
  };
  EXPECT_EQ(check(""), grpc::StatusCode::OK);
  EXPECT_EQ(check(v1::FineTuneService::service_full_name()), grpc::StatusCode::OK);
  EXPECT_EQ(check(v1::WorkerDirectoryService::service_full_name()), grpc::StatusCode::OK);
  EXPECT_EQ(check(v1::FileService::service_full_name()), grpc::StatusCode::NOT_FOUND);
}

TEST_F(ReadServerTest, TokenIsAskedForByEveryCall) {
  config_.token_file = directory_ / "token";
  std::ofstream(config_.token_file) << "secret\n";
  chmod(config_.token_file.c_str(), 0600);
  Start();
  EXPECT_EQ(List(Channel()).error_code(), grpc::StatusCode::UNAUTHENTICATED);
  EXPECT_EQ(GetFile(Channel()).error_code(), grpc::StatusCode::UNAUTHENTICATED);
  rpc::ClientSecurity security;
  security.token_file = config_.token_file;
  EXPECT_EQ(ReasonOf(GetFile(Channel(security))), "READ_ONLY");
}

TEST_F(ReadServerTest, AddressIsThatOfTheFlag) {
  Start();
  config_.read_listen = absl::StrCat("localhost:", server_->port());
  EXPECT_THAT(ReadServer::Start(config_),
              StatusIs(absl::StatusCode::kUnavailable, "--read-listen"));
  config_.read_listen = "0.0.0.0:0";
  EXPECT_THAT(ReadServer::Start(config_), StatusIs(absl::StatusCode::kInvalidArgument, ""));
  config_.read_listen = "";
  ASSERT_OK_AND_ASSIGN(const auto none, ReadServer::Start(config_));
  EXPECT_EQ(none, nullptr);
}

}  // namespace
}  // namespace longlora::server
