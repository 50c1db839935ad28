// Goal: an address that only reads tells of jobs and workers what the store holds, also as it
// changes, and refuses all else with the way out. Method: its services over a real store that
// somebody else writes; every method of the API is called, by its descriptor.
#include "server/api/read_only.h"

#include <google/protobuf/descriptor.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>

#include <set>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "common/time/clock.h"
#include "gmock/gmock.h"
#include "longlora/v1/file_service.grpc.pb.h"
#include "longlora/v1/queue_service.grpc.pb.h"
#include "longlora/worker/v1/worker_service.grpc.pb.h"
#include "server/api/fine_tune_service.h"
#include "server/api/worker_directory_service.h"
#include "server/events/event_poll.h"
#include "server/scheduler/stored_job_reader.h"
#include "server/store/sqlite_job_store.h"
#include "tests/server/api/test_server.h"
#include "tests/server/store/job_transactions.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temporary_directory.h"

namespace longlora::server {
namespace {

using ::testing::ElementsAre;

class ReadOnlyTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_OK_AND_ASSIGN(store_, OpenSqliteJobStore(directory_ / "jobs.sqlite"));
    artifacts_ = ArtifactStore::OpenToRead(directory_ / "artifacts");
    events_ = std::make_unique<EventLog>(*store_, hub_);
    reader_ = std::make_unique<StoredJobReader>(store_.get());
    watches_ = std::make_unique<WatchStreams>(reader_.get(), events_.get(), Limits(),
                                              &common::Clock::Real());
    jobs_service_ = std::make_unique<FineTuneServiceHandler>(
        FineTuneServiceHandler::Dependencies{.reader = reader_.get(),
                                             .events = events_.get(),
                                             .artifacts = artifacts_.get(),
                                             .transfers = &transfers_,
                                             .watches = watches_.get(),
                                             .calls = &calls_});
    workers_service_ = std::make_unique<WorkerDirectoryHandler>(reader_.get(), nullptr, &calls_);
    grpc::ServerBuilder builder;
    builder.RegisterService(jobs_service_.get());
    builder.RegisterService(workers_service_.get());
    builder.RegisterCallbackGenericService(&everything_else_);
    server_ = builder.BuildAndStart();
    jobs_ = v1::FineTuneService::NewStub(server_->InProcessChannel({}));
  }
  void TearDown() override { server_->Shutdown(); }

  // Of a call without anything in its request.
  grpc::Status Call(const std::string& path) {
    grpc::GenericStub stub(server_->InProcessChannel({}));
    grpc::ClientContext context;
    const grpc::Slice nothing;
    const grpc::ByteBuffer request(&nothing, 1);
    grpc::ByteBuffer response;
    grpc::Status status;
    absl::Notification done;
    stub.UnaryCall(&context, path, grpc::StubOptions(), &request, &response,
                   [&](grpc::Status ended) {
                     status = std::move(ended);
                     done.Notify();
                   });
    done.WaitForNotification();
    return status;
  }
  void Store(JobTransaction transaction) {
    ASSERT_OK(store_->Enqueue(std::move(transaction)).Wait());
  }
  StoredJob Stored(const std::string& id) { return store_->ReadJob(id).value(); }

  longlora::testing::TemporaryDirectory directory_;
  std::unique_ptr<JobStore> store_;
  std::unique_ptr<ArtifactStore> artifacts_;
  EventHub hub_;
  std::unique_ptr<EventLog> events_;
  std::unique_ptr<StoredJobReader> reader_;
  TransferLimit transfers_{1};
  UnaryCalls calls_{2, Limits()};
  std::unique_ptr<WatchStreams> watches_;
  std::unique_ptr<FineTuneServiceHandler> jobs_service_;
  std::unique_ptr<WorkerDirectoryHandler> workers_service_;
  ReadOnlyService everything_else_;
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<v1::FineTuneService::Stub> jobs_;
};

TEST_F(ReadOnlyTest, EveryCallButAReadIsRefusedWithTheWayOut) {
  const std::set<std::string> reads = {"longlora.v1.FineTuneService/GetFineTuneJob",
                                       "longlora.v1.FineTuneService/ListFineTuneJobs",
                                       "longlora.v1.FineTuneService/WatchFineTuneJob",
                                       "longlora.v1.FineTuneService/ListJobEvents",
                                       "longlora.v1.FineTuneService/ListCheckpoints",
                                       "longlora.v1.FineTuneService/ListArtifacts",
                                       "longlora.v1.FineTuneService/DownloadArtifact",
                                       "longlora.v1.WorkerDirectoryService/ListWorkers"};
  std::set<std::string> served;
  for (const char* name :
       {v1::FineTuneService::service_full_name(), v1::FileService::service_full_name(),
        v1::QueueService::service_full_name(), v1::WorkerDirectoryService::service_full_name(),
        worker::v1::WorkerService::service_full_name()}) {
    const auto& service =
        *google::protobuf::DescriptorPool::generated_pool()->FindServiceByName(name);
    for (int i = 0; i < service.method_count(); ++i) {
      const std::string method = absl::StrCat(name, "/", service.method(i)->name());
      const grpc::Status status = Call(absl::StrCat("/", method));
      if (ReasonOf(status) != "READ_ONLY") {
        served.insert(method);
        continue;
      }
      EXPECT_EQ(status.error_code(), grpc::StatusCode::FAILED_PRECONDITION) << method;
      EXPECT_THAT(status.error_message(), ::testing::HasSubstr("--listen")) << method;
    }
  }
  EXPECT_EQ(served, reads);
}

TEST_F(ReadOnlyTest, JobsAreToldAsTheyAreStored) {
  Store(CreateJob("alpha-1", 1));
  Store(CreateJob("beta-1", 2));
  grpc::ClientContext listing;
  v1::ListFineTuneJobsResponse list;
  ASSERT_TRUE(jobs_->ListFineTuneJobs(&listing, {}, &list).ok());
  ASSERT_EQ(list.jobs_size(), 2);
  EXPECT_EQ(list.jobs(0).name(), "fineTuneJobs/beta-1");
  Store(ChangeState(Stored("alpha-1"), v1::FineTuneJob::CANCELLED));
  grpc::ClientContext getting;
  v1::GetFineTuneJobRequest request;
  request.set_name("fineTuneJobs/alpha-1");
  v1::FineTuneJob job;
  ASSERT_TRUE(jobs_->GetFineTuneJob(&getting, request, &job).ok());
  EXPECT_EQ(job.state(), v1::FineTuneJob::CANCELLED);
}

TEST_F(ReadOnlyTest, WatcherIsToldWhatNobodyNotifiesOf) {
  const EventPoll poll(&hub_, absl::Milliseconds(20));
  Store(CreateJob("alpha-1", 1));
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(30));
  v1::WatchFineTuneJobRequest request;
  request.set_name("fineTuneJobs/alpha-1");
  const auto stream = jobs_->WatchFineTuneJob(&context, request);
  v1::WatchFineTuneJobResponse update;
  ASSERT_TRUE(stream->Read(&update));
  EXPECT_EQ(update.job().last_event_sequence(), 1);
  std::vector<int64_t> sequences;
  const auto read_event = [&] {
    if (!stream->Read(&update)) return false;
    sequences.push_back(update.event().sequence());
    return true;
  };
  ASSERT_TRUE(read_event());  // so it waits
  Store(AppendLog(Stored("alpha-1"), 2));
  ASSERT_TRUE(read_event() && read_event());
  Store(ChangeState(Stored("alpha-1"), v1::FineTuneJob::SUCCEEDED));
  while (read_event()) {
  }
  EXPECT_TRUE(stream->Finish().ok());
  EXPECT_THAT(sequences, ElementsAre(1, 2, 3, 4));
}

}  // namespace
}  // namespace longlora::server
