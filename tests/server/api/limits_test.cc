// Goal: every limit refuses in words of ours: a code, a reason and, when it is for now only, when
// to come again; and hurts nobody who keeps to it. Method: a server in this process with low
// limits.
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "rpc/grpc_status.h"
#include "server/api/client_identity.h"
#include "tests/server/api/test_server.h"
#include "tests/testing/status_matchers.h"

namespace longlora::server {
namespace {

rpc::ErrorDetails DetailsOf(const grpc::Status& status) {
  return rpc::GetErrorDetails(rpc::FromGrpcStatus(status));
}

grpc::Status Create(TestServer& server, const v1::FineTuneSpec& spec, bool validate_only = false) {
  v1::CreateFineTuneJobRequest request;
  *request.mutable_spec() = spec;
  request.set_validate_only(validate_only);
  grpc::ClientContext context;
  v1::FineTuneJob job;
  return server.jobs().CreateFineTuneJob(&context, request, &job);
}

// A watcher that read the job and goes on.
struct Watcher {
  grpc::ClientContext context;
  std::unique_ptr<grpc::ClientReader<v1::WatchFineTuneJobResponse>> reader;

  // OK while the stream lives, else how it ended.
  grpc::Status Open(TestServer& server, const std::string& job) {
    v1::WatchFineTuneJobRequest request;
    request.set_name(job);
    reader = server.jobs().WatchFineTuneJob(&context, request);
    v1::WatchFineTuneJobResponse update;
    return reader->Read(&update) ? grpc::Status::OK : reader->Finish();
  }
  void Leave() {
    context.TryCancel();
    reader->Finish();
  }
};

TEST(LimitsTest, SpecSize) {
  TestServer server([](ServerConfig& config) { config.limits.spec_bytes = 1000; });
  server.Synchronize({}, 0);
  v1::FineTuneSpec spec = server.Spec();
  EXPECT_TRUE(Create(server, spec).ok());
  spec.mutable_method()->mutable_lora()->add_target_modules(std::string(1000, 'q'));
  const grpc::Status status = Create(server, spec);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(DetailsOf(status).reason, "SPEC_TOO_LARGE");
  EXPECT_EQ(DetailsOf(status).metadata["max_spec_bytes"], "1000");
  EXPECT_EQ(ReasonOf(Create(server, spec, true)), "SPEC_TOO_LARGE");
  v1::EstimateFineTuneJobRequest estimate;
  *estimate.mutable_spec() = spec;
  grpc::ClientContext context;
  v1::EstimateFineTuneJobResponse response;
  EXPECT_EQ(ReasonOf(server.jobs().EstimateFineTuneJob(&context, estimate, &response)),
            "SPEC_TOO_LARGE");
}

TEST(LimitsTest, MessageSize) {
  TestServer server([](ServerConfig& config) { config.limits.message_bytes = 100'000; });
  const auto get = [&](size_t bytes) {
    v1::GetFineTuneJobRequest request;
    request.set_name(std::string(bytes, 'x'));
    grpc::ClientContext context;
    v1::FineTuneJob job;
    return server.jobs().GetFineTuneJob(&context, request, &job);
  };
  EXPECT_EQ(ReasonOf(get(99'990)), "NAME_INVALID");
  const grpc::Status status = get(100'000);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(DetailsOf(status).reason, "MESSAGE_TOO_LARGE");
  EXPECT_EQ(DetailsOf(status).metadata["max_message_bytes"], "100000");
  // A client takes no more than some KB of error: what it sent is not all sent back.
  EXPECT_LT(get(99'990).error_message().size(), 2000u);
  // Too much to be read at all.
  EXPECT_EQ(get(500'000).error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
}

TEST(LimitsTest, UnfinishedJobs) {
  TestServer server([](ServerConfig& config) { config.scheduler.live_jobs_max = 1; });
  server.Synchronize({}, 0);
  const v1::FineTuneJob job = server.Create();
  const grpc::Status status = Create(server, server.Spec());
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(DetailsOf(status).reason, "QUEUE_FULL");
  v1::CancelFineTuneJobRequest cancel;
  cancel.set_name(job.name());
  grpc::ClientContext context;
  v1::FineTuneJob cancelled;
  ASSERT_TRUE(server.jobs().CancelFineTuneJob(&context, cancel, &cancelled).ok());
  EXPECT_TRUE(Create(server, server.Spec()).ok());
}

TEST(LimitsTest, CreatesOfAClient) {
  TestServer server([](ServerConfig& config) {
    config.limits.creates_per_second = 0.001;
    config.limits.creates_burst = 2;
  });
  server.Synchronize({}, 0);
  const v1::FineTuneSpec spec = server.Spec();
  EXPECT_TRUE(Create(server, spec).ok());
  EXPECT_TRUE(Create(server, spec, true).ok());
  for (int i = 0; i < 3; ++i) {
    const grpc::Status status = Create(server, spec);
    EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
    EXPECT_EQ(DetailsOf(status).reason, "TOO_MANY_CREATES");
    EXPECT_GT(DetailsOf(status).retry_delay, absl::Seconds(500));
    EXPECT_EQ(DetailsOf(status).metadata["client"].substr(0, 8), "address:");
  }
  v1::ListFineTuneJobsResponse jobs;
  grpc::ClientContext context;
  ASSERT_TRUE(server.jobs().ListFineTuneJobs(&context, {}, &jobs).ok());
  EXPECT_EQ(jobs.jobs_size(), 1);
}

TEST(LimitsTest, ATokenIsOneClientWhereverItComesFrom) {
  longlora::testing::TemporaryDirectory directory;
  const std::string path = directory / "token";
  std::ofstream(path) << "correct-horse\n";
  chmod(path.c_str(), 0600);
  rpc::ClientSecurity security;
  security.token_file = path;
  TestServer server(
      [&](ServerConfig& config) {
        config.token_file = path;
        config.limits.creates_per_second = 0.001;
        config.limits.creates_burst = 1;
      },
      security);
  server.Synchronize({}, 0);
  const v1::FineTuneSpec spec = server.Spec();
  EXPECT_TRUE(Create(server, spec).ok());
  const std::string client = DetailsOf(Create(server, spec)).metadata["client"];
  EXPECT_EQ(client.substr(0, 6), "token:");
  EXPECT_EQ(client.find("horse"), std::string::npos) << "not the token itself";
  EXPECT_GT(client.size(), 6u);
}

TEST(LimitsTest, WatchesOfAClient) {
  TestServer server([](ServerConfig& config) { config.limits.watches_per_client = 2; });
  server.Synchronize({}, 0);
  const std::string job = server.Create().name();
  Watcher first;
  Watcher second;
  EXPECT_TRUE(first.Open(server, job).ok());
  EXPECT_TRUE(second.Open(server, job).ok());
  const grpc::Status status = Watcher().Open(server, job);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(DetailsOf(status).reason, "TOO_MANY_WATCHES");
  EXPECT_GT(DetailsOf(status).retry_delay, absl::ZeroDuration());
  first.Leave();
  // The server hears of it on its own time.
  while (true) {
    Watcher attempt;
    const grpc::Status opened = attempt.Open(server, job);
    if (opened.ok()) {
      attempt.Leave();
      break;
    }
    ASSERT_EQ(ReasonOf(opened), "TOO_MANY_WATCHES");
  }
  second.Leave();
}

TEST(LimitsTest, WatchesInAll) {
  TestServer server([](ServerConfig& config) { config.limits.watches = 1; });
  server.Synchronize({}, 0);
  const std::string job = server.Create().name();
  Watcher first;
  EXPECT_TRUE(first.Open(server, job).ok());
  const grpc::Status status = Watcher().Open(server, job);
  EXPECT_EQ(ReasonOf(status), "TOO_MANY_WATCHES");
  EXPECT_NE(status.error_message().find("--max-watches)"), std::string::npos);
  first.Leave();
}

TEST(LimitsTest, Transfers) {
  TestServer server([](ServerConfig& config) { config.limits.transfers = 1; });
  // One upload that does not go on.
  grpc::ClientContext context;
  v1::File file;
  auto writer = server.files().UploadFile(&context, &file);
  v1::UploadFileRequest header;
  header.mutable_header()->set_name("files/" + std::string(64, 'a'));
  header.mutable_header()->set_size_bytes(10);
  ASSERT_TRUE(writer->Write(header));
  grpc::Status status;
  do {  // Its first message is on the way.
    status = server.Upload("files/" + std::string(64, 'b'), 10, "0123456789");
  } while (ReasonOf(status) != "TOO_MANY_TRANSFERS");
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_GT(DetailsOf(status).retry_delay, absl::ZeroDuration());
  context.TryCancel();
  writer->Finish();
  do {
    status = server.Upload("files/" + std::string(64, 'b'), 10, "0123456789");
  } while (ReasonOf(status) == "TOO_MANY_TRANSFERS");
  EXPECT_EQ(ReasonOf(status), "DIGEST_MISMATCH");
}

TEST(LimitsTest, ConnectionsOfAMachineAreOneClient) {
  EXPECT_EQ(WithoutPort("ipv4:10.0.0.1:4711"), "ipv4:10.0.0.1");
  EXPECT_EQ(WithoutPort("ipv6:[::1]:4711"), "ipv6:[::1]");
  EXPECT_EQ(WithoutPort("ipv6:%5B::1%5D:4711"), "ipv6:%5B::1%5D");
  EXPECT_EQ(WithoutPort("unix:/run/longlora"), "unix:/run/longlora");
  EXPECT_EQ(WithoutPort("inproc"), "inproc");
}

}  // namespace
}  // namespace longlora::server
