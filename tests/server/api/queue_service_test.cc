// Goal: queues and their waiting jobs are served page by page, with clear errors. Method: a whole
// server in this process.
#include <grpcpp/grpcpp.h>

#include <fstream>

#include "gmock/gmock.h"
#include "tests/server/api/test_server.h"

namespace longlora::server {
namespace {

using ::testing::SizeIs;

class QueueServiceTest : public ::testing::Test {
 protected:
  QueueServiceTest() : server_([this](ServerConfig& config) { config.queues = QueuesFile(); }) {
    queues_ = v1::QueueService::NewStub(
        grpc::CreateChannel(server_.address(), grpc::InsecureChannelCredentials()));
  }
  std::string QueuesFile() {
    const std::string path = directory_ / "queues.yaml";
    std::ofstream(path) << "queues: [{name: research, nominal: {cpu: 1}, weight: 2}]";
    return path;
  }
  grpc::Status List(const std::string& queue, int32_t size, const std::string& token,
                    v1::ListQueuedJobsResponse& response) {
    grpc::ClientContext context;
    v1::ListQueuedJobsRequest request;
    request.set_queue(queue);
    request.set_page_size(size);
    request.set_page_token(token);
    response.Clear();
    return queues_->ListQueuedJobs(&context, request, &response);
  }

  longlora::testing::TemporaryDirectory directory_;
  TestServer server_;
  std::unique_ptr<v1::QueueService::Stub> queues_;
};

TEST_F(QueueServiceTest, QueuesAreThoseOfTheFile) {
  grpc::ClientContext context;
  v1::ListQueuesResponse response;
  ASSERT_TRUE(queues_->ListQueues(&context, {}, &response).ok());
  ASSERT_THAT(response.queues(), SizeIs(2));
  EXPECT_EQ(response.queues(0).name(), "queues/default");
  EXPECT_EQ(response.queues(1).name(), "queues/research");
  EXPECT_EQ(response.queues(1).weight(), 2.0);
  EXPECT_EQ(response.queues(1).quotas(0).nominal(), 1);
  EXPECT_FALSE(response.queues(1).quotas(0).has_borrowing_limit());
}

TEST_F(QueueServiceTest, WaitingJobsComeInPages) {
  server_.Synchronize();
  for (int i = 0; i < 4; ++i) server_.Create();
  v1::ListQueuedJobsResponse page;
  while (List("", 50, "", page).ok() && page.jobs_size() < 3) absl::SleepFor(absl::Milliseconds(5));
  ASSERT_TRUE(List("queues/default", 2, "", page).ok());
  ASSERT_THAT(page.jobs(), SizeIs(2));
  EXPECT_EQ(page.jobs(0).place(), 1);
  EXPECT_EQ(page.jobs(0).queue(), "default");
  const std::string token = page.next_page_token();
  ASSERT_TRUE(List("queues/default", 2, token, page).ok());
  ASSERT_THAT(page.jobs(), SizeIs(1));
  EXPECT_EQ(page.jobs(0).place(), 3);
  EXPECT_EQ(page.next_page_token(), "");
  EXPECT_EQ(ReasonOf(List("", 2, token, page)), "PAGE_INVALID") << "of another question";
}

TEST_F(QueueServiceTest, NamesOfNoQueueAreRefused) {
  v1::ListQueuedJobsResponse page;
  EXPECT_EQ(ReasonOf(List("research", 0, "", page)), "NAME_INVALID");
  EXPECT_EQ(ReasonOf(List("queues/A", 0, "", page)), "NAME_INVALID");
  const grpc::Status unknown = List("queues/nobody", 0, "", page);
  EXPECT_EQ(unknown.error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(ReasonOf(unknown), "QUEUE_NOT_FOUND");
  EXPECT_EQ(ReasonOf(List("", -1, "", page)), "PAGE_INVALID");
}

}  // namespace
}  // namespace longlora::server
