#include "tests/server/api/test_server.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/io/sha256.h"
#include "rpc/grpc_status.h"
#include "tests/testing/status_matchers.h"

namespace longlora::server {

std::string ReasonOf(const grpc::Status& status) {
  return rpc::GetErrorDetails(rpc::FromGrpcStatus(status)).reason;
}

std::vector<std::string> FieldsOf(const grpc::Status& status) {
  std::vector<std::string> fields;
  for (const auto& violation : rpc::GetErrorDetails(rpc::FromGrpcStatus(status)).violations) {
    fields.push_back(violation.field);
  }
  return fields;
}

TestServer::TestServer(const std::function<void(ServerConfig&)>& configure,
                       const rpc::ClientSecurity& client)
    : client_(client) {
  config_.data_dir = data_ / "data";
  config_.listen = "localhost:0";
  // Its HTTP server needs two seconds to stop; ServerBinaryTest covers it.
  config_.metrics_listen = "";
  // Assignments are awaited by synchronizing, so a quick loop makes quick tests.
  config_.scheduler.synchronize_interval = absl::Milliseconds(50);
  if (configure) configure(config_);
  Restart();
}

void TestServer::Restart() {
  server_.reset();
  absl::StatusOr<std::unique_ptr<Server>> server = Server::Start(config_);
  if (!server.ok()) {
    ADD_FAILURE() << server.status();
    std::abort();
  }
  server_ = *std::move(server);
  Connect(client_);
}

void TestServer::Connect(const rpc::ClientSecurity& client) {
  const auto channel = rpc::MakeChannel(address(), client);
  ASSERT_OK(channel);
  jobs_ = v1::FineTuneService::NewStub(*channel);
  files_ = v1::FileService::NewStub(*channel);
  directory_ = v1::WorkerDirectoryService::NewStub(*channel);
  workers_ = worker::v1::WorkerService::NewStub(*channel);
}

grpc::Status TestServer::Upload(const std::string& name, int64_t size_bytes,
                                const std::string& content, int64_t offset, size_t chunk) {
  grpc::ClientContext context;
  v1::File file;
  auto writer = files_->UploadFile(&context, &file);
  v1::UploadFileRequest request;
  request.mutable_header()->set_name(name);
  request.mutable_header()->set_size_bytes(size_bytes);
  request.mutable_header()->set_offset(offset);
  bool open = writer->Write(request);
  for (size_t at = 0; open && at < content.size(); at += chunk) {
    request.set_data(content.substr(at, chunk));
    open = writer->Write(request);
  }
  writer->WritesDone();
  return writer->Finish();
}

std::string TestServer::StoredDataset() {
  const std::string content = "{\"text\": \"It is a truth universally acknowledged\"}\n";
  const std::string name = "files/" + common::Sha256Hex(content);
  const grpc::Status status = Upload(name, static_cast<int64_t>(content.size()), content);
  EXPECT_TRUE(status.ok()) << status.error_message();
  return name;
}

v1::FineTuneSpec TestServer::Spec() {
  v1::FineTuneSpec spec;
  spec.set_display_name("Books");
  spec.set_base_model("tiny");
  spec.mutable_dataset()->set_training(StoredDataset());
  spec.set_max_sequence_length(64);
  spec.mutable_training()->set_max_steps(2);
  spec.mutable_resources()->set_device("cpu");
  return spec;
}

worker::v1::SynchronizeResponse TestServer::Synchronize(
    const std::vector<worker::v1::AttemptStatus>& attempts, int device_count) {
  worker::v1::SynchronizeRequest request;
  request.set_worker("w1");
  request.set_incarnation("first-life");
  request.add_models("tiny");
  request.add_allowed_roots("/models");
  for (int i = 0; i < device_count; ++i) {
    auto* device = request.add_devices();
    device->set_id(absl::StrCat("cpu:", i));
    device->set_kind("cpu");
  }
  for (const auto& attempt : attempts) *request.add_attempts() = attempt;
  grpc::ClientContext context;
  worker::v1::SynchronizeResponse response;
  const grpc::Status status = workers_->Synchronize(&context, request, &response);
  EXPECT_TRUE(status.ok()) << status.error_message();
  return response;
}

worker::v1::Assignment TestServer::AwaitAssignment() {
  const absl::Time deadline = absl::Now() + absl::Seconds(20);
  while (absl::Now() < deadline) {
    const worker::v1::SynchronizeResponse response = Synchronize();
    if (response.assignments_size() > 0) return response.assignments(0);
  }
  ADD_FAILURE() << "no attempt was assigned";
  return {};
}

v1::FineTuneJob TestServer::Create() {
  v1::CreateFineTuneJobRequest request;
  *request.mutable_spec() = Spec();
  grpc::ClientContext context;
  v1::FineTuneJob job;
  const grpc::Status status = jobs_->CreateFineTuneJob(&context, request, &job);
  EXPECT_TRUE(status.ok()) << status.error_message();
  return job;
}

grpc::Status TestServer::Report(const worker::v1::Assignment& assignment, int64_t first,
                                const std::vector<v1::JobEvent>& events) {
  worker::v1::ReportEventsRequest request;
  request.set_worker("w1");
  request.set_job(assignment.job());
  request.set_attempt(assignment.attempt());
  for (const v1::JobEvent& event : events) {
    auto* numbered = request.add_events();
    numbered->set_sequence(first++);
    *numbered->mutable_event() = event;
  }
  grpc::ClientContext context;
  worker::v1::ReportEventsResponse response;
  return workers_->ReportEvents(&context, request, &response);
}

grpc::Status TestServer::UploadArtifact(const worker::v1::ArtifactRef& artifact,
                                        const std::string& content) {
  grpc::ClientContext context;
  worker::v1::UploadArtifactResponse response;
  auto writer = workers_->UploadArtifact(&context, &response);
  worker::v1::UploadArtifactRequest request;
  *request.mutable_header()->mutable_artifact() = artifact;
  bool open = writer->Write(request);
  if (open && !content.empty()) {
    request.set_data(content);
    writer->Write(request);
  }
  writer->WritesDone();
  return writer->Finish();
}

void TestServer::Succeed(const worker::v1::Assignment& assignment, const std::string& content) {
  v1::JobEvent prepared;
  prepared.mutable_prepared()->set_total_steps(2);
  v1::JobEvent step;
  step.mutable_step()->set_step(1);
  step.mutable_step()->set_loss(2.5);
  step.mutable_step()->set_tokens(64);
  v1::JobEvent finished;
  finished.mutable_finished()->set_step(1);
  ASSERT_TRUE(Report(assignment, 1, {prepared, step, finished}).ok());

  worker::v1::ArtifactRef ref;
  ref.set_worker("w1");
  ref.set_job(assignment.job());
  ref.set_attempt(assignment.attempt());
  ref.mutable_artifact()->set_path("adapter/adapter_model.safetensors");
  ref.mutable_artifact()->set_size_bytes(static_cast<int64_t>(content.size()));
  ref.mutable_artifact()->set_sha256(common::Sha256Hex(content));
  const grpc::Status uploaded = UploadArtifact(ref, content);
  ASSERT_TRUE(uploaded.ok()) << uploaded.error_message();
  worker::v1::CommitArtifactsRequest commit;
  commit.set_worker("w1");
  commit.set_job(assignment.job());
  commit.set_attempt(assignment.attempt());
  *commit.mutable_results()->add_artifacts() = ref.artifact();
  grpc::ClientContext context;
  worker::v1::CommitArtifactsResponse response;
  const grpc::Status committed = workers_->CommitArtifacts(&context, commit, &response);
  ASSERT_TRUE(committed.ok()) << committed.error_message();
  worker::v1::AttemptStatus done;
  done.set_job(assignment.job());
  done.set_attempt(assignment.attempt());
  done.set_state(worker::v1::AttemptStatus::SUCCEEDED);
  Synchronize({done});
}

}  // namespace longlora::server
