// Goal: calls that wait for the disk hold no thread and nobody up, and those beyond the limit are
// told so. Method: the real services over a store that keeps its decisions back, and many more
// calls than threads.
#include "server/api/unary_calls.h"

#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/synchronization/blocking_counter.h"
#include "common/ids/id_generator.h"
#include "common/time/clock.h"
#include "rpc/grpc_status.h"
#include "server/api/fine_tune_service.h"
#include "server/api/worker_service.h"
#include "server/store/sqlite_job_store.h"
#include "tests/server/api/held_store.h"
#include "tests/server/api/test_server.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temporary_directory.h"

namespace longlora::server {
namespace {

constexpr int kThreads = 2;
constexpr int kMany = 500;

class UnaryCallsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_OK_AND_ASSIGN(store_, OpenSqliteJobStore(directory_ / "jobs.sqlite"));
    held_ = std::make_unique<HeldStore>(*store_);
    ASSERT_OK_AND_ASSIGN(files_, FileStore::Open(directory_ / "files", 1 << 20));
    ASSERT_OK_AND_ASSIGN(artifacts_, ArtifactStore::Open(directory_ / "artifacts", 1 << 20));
    Scheduler::Dependencies dependencies;
    dependencies.store = held_.get();
    dependencies.hub = &hub_;
    dependencies.clock = &common::Clock::Real();
    dependencies.ids = &common::IdGenerator::Real();
    ASSERT_OK_AND_ASSIGN(scheduler_, Scheduler::Create({}, dependencies));
    worker::v1::SynchronizeRequest worker;
    worker.set_worker("w1");
    worker.set_incarnation("first");
    worker.add_models("tiny");
    ASSERT_OK(scheduler_->Synchronize(worker));
  }

  // With `limits`, on an in-process channel.
  void Serve(const Limits& limits) {
    calls_ = std::make_unique<UnaryCalls>(kThreads, limits);
    worker_calls_ = std::make_unique<UnaryCalls>(kThreads, limits);
    worker_service_ = std::make_unique<WorkerServiceHandler>(WorkerServiceHandler::Dependencies{
        scheduler_.get(), artifacts_.get(), files_.get(), nullptr, worker_calls_.get()});
    service_ = std::make_unique<FineTuneServiceHandler>(
        FineTuneServiceHandler::Dependencies{.reader = scheduler_.get(),
                                             .artifacts = artifacts_.get(),
                                             .calls = calls_.get(),
                                             .scheduler = scheduler_.get(),
                                             .max_spec_bytes = limits.spec_bytes});
    grpc::ServerBuilder builder;
    builder.RegisterService(service_.get());
    builder.RegisterService(worker_service_.get());
    server_ = builder.BuildAndStart();
    const auto channel = server_->InProcessChannel({});
    jobs_ = v1::FineTuneService::NewStub(channel);
    workers_ = worker::v1::WorkerService::NewStub(channel);
  }
  void TearDown() override {
    held_->Release();
    if (server_ != nullptr) server_->Shutdown();
  }

  std::string Submit() {
    SubmitRequest submit;
    submit.spec.set_base_model("tiny");
    const auto job = scheduler_->Submit(submit);
    EXPECT_OK(job);
    return job.ok() ? job->name() : "";
  }

  // A cancel for each of `names`, all at once.
  struct Cancel {
    grpc::ClientContext context;
    v1::CancelFineTuneJobRequest request;
    v1::FineTuneJob response;
    grpc::Status status;
  };
  std::vector<std::unique_ptr<Cancel>> BeginCancels(const std::vector<std::string>& names,
                                                    absl::BlockingCounter& done) {
    std::vector<std::unique_ptr<Cancel>> cancels;
    for (const std::string& name : names) {
      Cancel& cancel = *cancels.emplace_back(std::make_unique<Cancel>());
      cancel.request.set_name(name);
      jobs_->async()->CancelFineTuneJob(&cancel.context, &cancel.request, &cancel.response,
                                        [&](grpc::Status status) {
                                          cancel.status = std::move(status);
                                          done.DecrementCount();
                                        });
    }
    return cancels;
  }

  longlora::testing::TemporaryDirectory directory_;
  EventHub hub_;
  std::unique_ptr<JobStore> store_;
  std::unique_ptr<HeldStore> held_;
  std::unique_ptr<FileStore> files_;
  std::unique_ptr<ArtifactStore> artifacts_;
  std::unique_ptr<Scheduler> scheduler_;
  std::unique_ptr<UnaryCalls> calls_;
  std::unique_ptr<UnaryCalls> worker_calls_;
  std::unique_ptr<FineTuneServiceHandler> service_;
  std::unique_ptr<WorkerServiceHandler> worker_service_;
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<v1::FineTuneService::Stub> jobs_;
  std::unique_ptr<worker::v1::WorkerService::Stub> workers_;
};

TEST_F(UnaryCallsTest, ManyCallsWaitForTheDiskAndOthersPassThem) {
  Serve(Limits());
  std::vector<std::string> names;
  for (int i = 0; i < kMany; ++i) names.push_back(Submit());
  const std::string other = Submit();
  held_->Hold();
  absl::BlockingCounter done(kMany);
  const auto cancels = BeginCancels(names, done);
  held_->AwaitHeld(kMany);

  // Every thread is free: what rests on nothing that is held is answered.
  v1::GetFineTuneJobRequest get;
  get.set_name(other);
  v1::FineTuneJob job;
  grpc::ClientContext context;
  EXPECT_TRUE(jobs_->GetFineTuneJob(&context, get, &job).ok());
  for (const auto& cancel : cancels) EXPECT_TRUE(cancel->response.name().empty()) << "too early";

  held_->Release();
  done.Wait();
  for (const auto& cancel : cancels) {
    EXPECT_TRUE(cancel->status.ok()) << cancel->status.error_message();
    EXPECT_EQ(cancel->response.state(), v1::FineTuneJob::CANCELLED);
  }
}

TEST_F(UnaryCallsTest, CallsOfWorkersWaitForTheDiskWithoutThreadsToo) {
  Serve(Limits());
  held_->Hold();
  struct Call {
    grpc::ClientContext context;
    worker::v1::SynchronizeRequest request;
    worker::v1::SynchronizeResponse response;
    grpc::Status status;
  };
  absl::BlockingCounter done(kMany);
  std::vector<std::unique_ptr<Call>> calls;
  for (int i = 0; i < kMany; ++i) {
    Call& call = *calls.emplace_back(std::make_unique<Call>());
    call.request.set_worker("w" + std::to_string(i));
    call.request.set_incarnation("first");
    workers_->async()->Synchronize(&call.context, &call.request, &call.response,
                                   [&](grpc::Status status) {
                                     call.status = std::move(status);
                                     done.DecrementCount();
                                   });
  }
  held_->AwaitHeld(kMany);
  held_->Release();
  done.Wait();
  for (const auto& call : calls) EXPECT_TRUE(call->status.ok()) << call->status.error_message();
}

TEST_F(UnaryCallsTest, CallsBeyondTheLimitAreToldToComeAgain) {
  Limits limits;
  limits.calls = 10;
  Serve(limits);
  std::vector<std::string> names;
  for (int i = 0; i < limits.calls; ++i) names.push_back(Submit());
  held_->Hold();
  absl::BlockingCounter done(limits.calls);
  const auto cancels = BeginCancels(names, done);
  held_->AwaitHeld(names.size());

  v1::GetFineTuneJobRequest get;
  get.set_name(names[0]);
  v1::FineTuneJob job;
  for (int i = 0; i < 2 * limits.calls; ++i) {  // which leave nothing behind
    grpc::ClientContext context;
    const absl::Status refused = rpc::FromGrpcStatus(jobs_->GetFineTuneJob(&context, get, &job));
    EXPECT_EQ(refused.code(), absl::StatusCode::kResourceExhausted);
    EXPECT_EQ(rpc::GetErrorDetails(refused).reason, "TOO_MANY_CALLS");
    EXPECT_GT(rpc::GetErrorDetails(refused).retry_delay, absl::ZeroDuration());
  }
  {  // Workers have room of their own.
    grpc::ClientContext context;
    worker::v1::GetArtifactStatusResponse response;
    EXPECT_NE(ReasonOf(workers_->GetArtifactStatus(&context, {}, &response)), "TOO_MANY_CALLS");
  }

  held_->Release();
  done.Wait();
  for (const auto& cancel : cancels) EXPECT_TRUE(cancel->status.ok());
  grpc::ClientContext context;
  EXPECT_TRUE(jobs_->GetFineTuneJob(&context, get, &job).ok()) << "there is room again";
}

TEST_F(UnaryCallsTest, WhatTheStoreRefusesIsToldAndTheRoomIsFreeAgain) {
  Limits limits;
  limits.calls = 1;
  Serve(limits);
  const std::string name = Submit();
  for (int i = 0; i < 5; ++i) {
    grpc::ClientContext context;
    v1::CancelFineTuneJobRequest request;
    request.set_name(name);
    request.set_etag("not-its-etag");
    v1::FineTuneJob job;
    EXPECT_EQ(ReasonOf(jobs_->CancelFineTuneJob(&context, request, &job)), "ETAG_MISMATCH");
  }
}

TEST_F(UnaryCallsTest, CallersWhoLeaveTakeTheirRoomWithThemWhenTheirCallIsDone) {
  Limits limits;
  limits.calls = 1;
  Serve(limits);
  const std::string name = Submit();
  held_->Hold();
  absl::BlockingCounter done(1);
  const auto cancels = BeginCancels({name}, done);
  held_->AwaitHeld(1);
  cancels[0]->context.TryCancel();
  done.Wait();
  EXPECT_EQ(cancels[0]->status.error_code(), grpc::StatusCode::CANCELLED);
  held_->Release();
  // The change was decided and is made, whether its caller hears of it or not.
  EXPECT_OK(scheduler_->GetJob(name));
  v1::GetFineTuneJobRequest get;
  get.set_name(name);
  v1::FineTuneJob job;
  grpc::Status status;
  do {  // The server hears of the cancellation on its own time.
    grpc::ClientContext context;
    status = jobs_->GetFineTuneJob(&context, get, &job);
  } while (ReasonOf(status) == "TOO_MANY_CALLS");
  EXPECT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(job.state(), v1::FineTuneJob::CANCELLED);
}

}  // namespace
}  // namespace longlora::server
