// Goal: the public API does what its .proto says. Method: a server in this process, called over
// gRPC, with a worker that is only messages.
#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "absl/strings/match.h"
#include "absl/time/clock.h"
#include "common/io/files.h"
#include "common/io/sha256.h"
#include "gmock/gmock.h"
#include "tests/server/api/test_server.h"
#include "tests/testing/status_matchers.h"

namespace longlora::server {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;

// Calls a unary method; the response is thrown away when the caller does not want it.
template <typename Request, typename Response>
grpc::Status Call(v1::FineTuneService::Stub& stub,
                  grpc::Status (v1::FineTuneService::Stub::*method)(grpc::ClientContext*,
                                                                    const Request&, Response*),
                  const Request& request, Response* response) {
  grpc::ClientContext context;
  return (stub.*method)(&context, request, response);
}

class FineTuneServiceTest : public ::testing::Test {
 protected:
  grpc::Status Create(const v1::CreateFineTuneJobRequest& request, v1::FineTuneJob* job) {
    return Call(server_.jobs(), &v1::FineTuneService::Stub::CreateFineTuneJob, request, job);
  }
  grpc::Status Get(const std::string& name, v1::FineTuneJob* job) {
    v1::GetFineTuneJobRequest request;
    request.set_name(name);
    return Call(server_.jobs(), &v1::FineTuneService::Stub::GetFineTuneJob, request, job);
  }
  grpc::Status Cancel(const std::string& name, const std::string& etag, v1::FineTuneJob* job) {
    v1::CancelFineTuneJobRequest request;
    request.set_name(name);
    request.set_etag(etag);
    return Call(server_.jobs(), &v1::FineTuneService::Stub::CancelFineTuneJob, request, job);
  }
  grpc::Status Delete(const std::string& name, const std::string& etag, bool force) {
    v1::DeleteFineTuneJobRequest request;
    request.set_name(name);
    request.set_etag(etag);
    request.set_force(force);
    google::protobuf::Empty empty;
    return Call(server_.jobs(), &v1::FineTuneService::Stub::DeleteFineTuneJob, request, &empty);
  }
  grpc::Status List(const v1::ListFineTuneJobsRequest& request,
                    v1::ListFineTuneJobsResponse* response) {
    return Call(server_.jobs(), &v1::FineTuneService::Stub::ListFineTuneJobs, request, response);
  }
  int JobCount() {
    v1::ListFineTuneJobsResponse response;
    EXPECT_TRUE(List({}, &response).ok());
    return response.jobs_size();
  }
  // From `offset` to the end.
  grpc::Status Download(const std::string& job, const std::string& path, int64_t offset,
                        std::string* content) {
    v1::DownloadArtifactRequest request;
    request.set_parent(job);
    request.set_path(path);
    request.set_offset(offset);
    grpc::ClientContext context;
    auto reader = server_.jobs().DownloadArtifact(&context, request);
    v1::DownloadArtifactResponse response;
    content->clear();
    while (reader->Read(&response)) {
      EXPECT_LE(response.data().size(), size_t{1} << 20);
      *content += response.data();
    }
    return reader->Finish();
  }

  TestServer server_;
};

TEST_F(FineTuneServiceTest, CreatedJobIsStoredAndReadBack) {
  server_.Synchronize({}, 0);
  const v1::FineTuneJob created = server_.Create();
  EXPECT_TRUE(absl::StartsWith(created.name(), "fineTuneJobs/books-")) << created.name();
  EXPECT_EQ(created.state(), v1::FineTuneJob::QUEUED);
  EXPECT_FALSE(created.etag().empty());
  EXPECT_TRUE(created.has_create_time());
  v1::FineTuneJob read;
  ASSERT_TRUE(Get(created.name(), &read).ok());
  EXPECT_EQ(read.spec().SerializeAsString(), created.spec().SerializeAsString());
  // Told once a placement has looked at the job.
  const absl::Time deadline = absl::Now() + absl::Seconds(20);
  while (!read.has_schedule_reason() && absl::Now() < deadline) {
    absl::SleepFor(absl::Milliseconds(1));
    ASSERT_TRUE(Get(created.name(), &read).ok());
  }
  EXPECT_EQ(read.schedule_reason().code(), "NO_DEVICES");

  server_.Restart();
  ASSERT_TRUE(Get(created.name(), &read).ok());
  EXPECT_EQ(read.name(), created.name());
}

TEST_F(FineTuneServiceTest, RepeatWithTheSameRequestIdMakesNoSecondJob) {
  server_.Synchronize({}, 0);
  v1::CreateFineTuneJobRequest request;
  *request.mutable_spec() = server_.Spec();
  request.set_request_id("6b1e4f0a-9f5c-4e7e-8a35-0f8a4d6a0c11");
  v1::FineTuneJob first;
  v1::FineTuneJob second;
  ASSERT_TRUE(Create(request, &first).ok());
  ASSERT_TRUE(Create(request, &second).ok());
  EXPECT_EQ(first.name(), second.name());
  EXPECT_EQ(JobCount(), 1);
  request.mutable_spec()->set_display_name("another");
  const grpc::Status reused = Create(request, &second);
  EXPECT_EQ(reused.error_code(), grpc::StatusCode::ALREADY_EXISTS);
  EXPECT_EQ(ReasonOf(reused), "REQUEST_ID_REUSED");
  request.set_request_id("two words");
  EXPECT_EQ(ReasonOf(Create(request, &second)), "REQUEST_ID_INVALID");
}

TEST_F(FineTuneServiceTest, ValidateOnlyStoresNothing) {
  server_.Synchronize({}, 0);
  v1::CreateFineTuneJobRequest request;
  *request.mutable_spec() = server_.Spec();
  request.set_validate_only(true);
  v1::FineTuneJob job;
  ASSERT_TRUE(Create(request, &job).ok());
  EXPECT_EQ(job.name(), "");
  EXPECT_EQ(JobCount(), 0);
}

// Everything a user can get wrong: reason, where, a word of the explanation.
TEST_F(FineTuneServiceTest, BadInputIsRefusedWithItsReasonAndNothingIsStored) {
  server_.Synchronize({}, 0);
  const v1::FineTuneSpec good = server_.Spec();
  const auto stored = [this](const std::string& content) {
    const std::string name = "files/" + common::Sha256Hex(content);
    EXPECT_TRUE(server_.Upload(name, static_cast<int64_t>(content.size()), content).ok());
    return name;
  };
  struct Case {
    std::string title;
    std::function<void(v1::FineTuneSpec&)> spoil;
    std::string reason;
    std::string field;  // empty: no violations
    std::string word;
  };
  const double nan = std::nan("");
  const std::vector<Case> cases = {
      {"no length", [](auto& s) { s.clear_max_sequence_length(); }, "SPEC_INVALID",
       "max_sequence_length", ""},
      {"negative rate", [](auto& s) { s.mutable_optimizer()->set_learning_rate(-1); },
       "SPEC_INVALID", "optimizer.learning_rate", "-1"},
      {"rate is not a number", [nan](auto& s) { s.mutable_optimizer()->set_learning_rate(nan); },
       "SPEC_INVALID", "optimizer.learning_rate", ""},
      {"infinite norm", [](auto& s) { s.mutable_optimizer()->set_max_grad_norm(INFINITY); },
       "SPEC_INVALID", "optimizer.max_grad_norm", ""},
      {"wrong word", [](auto& s) { s.mutable_training()->set_precision("fp8"); }, "SPEC_INVALID",
       "training.precision", "fp8"},
      {"wrong type in a list",
       [](auto& s) { s.mutable_method()->mutable_trainable()->add_values()->set_number_value(1); },
       "SPEC_INVALID", "method.trainable", ""},
      {"rank 0", [](auto& s) { s.mutable_method()->mutable_lora()->set_rank(0); }, "SPEC_INVALID",
       "method.lora.rank", ""},
      {"a local path", [](auto& s) { s.mutable_dataset()->set_training("books.jsonl"); },
       "SPEC_INVALID", "dataset.training", "files/{sha256}"},
      {"a path out of the store",
       [](auto& s) { s.mutable_dataset()->set_training("files/../../etc/passwd"); }, "SPEC_INVALID",
       "dataset.training", ""},
      {"a file nobody uploaded",
       [](auto& s) { s.mutable_dataset()->set_training("files/" + std::string(64, 'a')); },
       "FILE_NOT_FOUND", "", "upload"},
      {"a model nobody has", [](auto& s) { s.set_base_model("huge"); }, "MODEL_UNAVAILABLE", "",
       "huge"},
      {"a path outside the roots", [](auto& s) { s.set_base_model("/etc/shadow"); },
       "MODEL_UNAVAILABLE", "", "/models"},
      {"a path that leaves its root", [](auto& s) { s.set_base_model("/models/../etc/x"); },
       "MODEL_UNAVAILABLE", "", ""},
      {"a name that leaves the model directory", [](auto& s) { s.set_base_model("../tiny"); },
       "MODEL_UNAVAILABLE", "", ""},
      {"blank lines only", [&](auto& s) { s.mutable_dataset()->set_training(stored("\n  \n")); },
       "FILE_INVALID", "dataset.training", "empty"},
      {"broken JSON in line 3",
       [&](auto& s) {
         s.mutable_dataset()->set_validation(
             stored("{\"text\":\"a\"}\n\n{\"text\":\"b\n{\"text\":\"c\"}\n"));
       },
       "FILE_INVALID", "dataset.validation", "line 3"},
      {"a missing key in line 2",
       [&](auto& s) {
         s.mutable_dataset()->set_training(stored("{\"text\":\"a\"}\n{\"txt\":\"b\"}"));
       },
       "FILE_INVALID", "dataset.training", "line 2"},
  };
  for (const Case& bad : cases) {
    SCOPED_TRACE(bad.title);
    v1::CreateFineTuneJobRequest request;
    *request.mutable_spec() = good;
    bad.spoil(*request.mutable_spec());
    v1::FineTuneJob job;
    const grpc::Status status = Create(request, &job);
    EXPECT_FALSE(status.ok());
    EXPECT_EQ(ReasonOf(status), bad.reason) << status.error_message();
    EXPECT_THAT(status.error_message(), HasSubstr(bad.word));
    if (!bad.field.empty()) {
      EXPECT_THAT(FieldsOf(status), Contains(HasSubstr(bad.field))) << status.error_message();
    }
  }
  v1::FineTuneJob job;
  EXPECT_EQ(ReasonOf(Create({}, &job)), "SPEC_INVALID");
  EXPECT_EQ(JobCount(), 0);
}

TEST_F(FineTuneServiceTest, EveryViolationIsToldAtOnce) {
  server_.Synchronize({}, 0);
  v1::CreateFineTuneJobRequest request;
  *request.mutable_spec() = server_.Spec();
  request.mutable_spec()->mutable_optimizer()->set_learning_rate(-1);
  request.mutable_spec()->mutable_method()->mutable_lora()->set_rank(-1);
  v1::FineTuneJob job;
  EXPECT_EQ(FieldsOf(Create(request, &job)).size(), 2u);
}

TEST_F(FineTuneServiceTest, PagesHoldEveryJobOnceNewestFirst) {
  server_.Synchronize({}, 0);
  std::vector<std::string> created;
  for (int i = 0; i < 5; ++i) created.insert(created.begin(), server_.Create().name());
  std::vector<std::string> listed;
  v1::ListFineTuneJobsRequest request;
  request.set_page_size(2);
  v1::ListFineTuneJobsResponse response;
  do {
    response.Clear();
    ASSERT_TRUE(List(request, &response).ok());
    EXPECT_LE(response.jobs_size(), 2);
    for (const auto& job : response.jobs()) listed.push_back(job.name());
    request.set_page_token(response.next_page_token());
  } while (!request.page_token().empty());
  EXPECT_EQ(listed, created);
}

TEST_F(FineTuneServiceTest, ForeignPageTokensAndNegativeSizesAreRefused) {
  server_.Synchronize({}, 0);
  server_.Create();
  server_.Create();
  v1::ListFineTuneJobsRequest request;
  request.set_page_size(1);
  v1::ListFineTuneJobsResponse response;
  ASSERT_TRUE(List(request, &response).ok());
  request.set_page_token(response.next_page_token());
  request.add_states(v1::FineTuneJob::QUEUED);
  EXPECT_EQ(ReasonOf(List(request, &response)), "PAGE_INVALID");
  request.Clear();
  request.set_page_token("made up");
  EXPECT_EQ(ReasonOf(List(request, &response)), "PAGE_INVALID");
  request.Clear();
  request.set_page_size(-1);
  EXPECT_EQ(ReasonOf(List(request, &response)), "PAGE_INVALID");
}

TEST_F(FineTuneServiceTest, StatesFilterTheList) {
  server_.Synchronize({}, 0);
  server_.Create();
  v1::ListFineTuneJobsRequest request;
  request.add_states(v1::FineTuneJob::FAILED);
  v1::ListFineTuneJobsResponse response;
  ASSERT_TRUE(List(request, &response).ok());
  EXPECT_EQ(response.jobs_size(), 0);
  request.add_states(v1::FineTuneJob::QUEUED);
  ASSERT_TRUE(List(request, &response).ok());
  EXPECT_EQ(response.jobs_size(), 1);
}

TEST_F(FineTuneServiceTest, QueuedJobIsCancelledAtOnceAndOnlyOnce) {
  server_.Synchronize({}, 0);
  const v1::FineTuneJob created = server_.Create();
  v1::FineTuneJob job;
  const grpc::Status mismatch = Cancel(created.name(), "another etag", &job);
  EXPECT_EQ(mismatch.error_code(), grpc::StatusCode::ABORTED);
  EXPECT_EQ(ReasonOf(mismatch), "ETAG_MISMATCH");
  ASSERT_TRUE(Cancel(created.name(), created.etag(), &job).ok());
  EXPECT_EQ(job.state(), v1::FineTuneJob::CANCELLED);
  EXPECT_NE(job.etag(), created.etag());
  EXPECT_EQ(ReasonOf(Cancel(created.name(), "", &job)), "JOB_FINAL");
  EXPECT_EQ(ReasonOf(Cancel("fineTuneJobs/none-such", "", &job)), "JOB_NOT_FOUND");
  EXPECT_EQ(ReasonOf(Cancel("jobs/1", "", &job)), "NAME_INVALID");
}

TEST_F(FineTuneServiceTest, DeleteAsksForAFinalJobAndForceWhenThereAreResults) {
  server_.Synchronize();
  const v1::FineTuneJob created = server_.Create();
  EXPECT_EQ(ReasonOf(Delete(created.name(), "", true)), "JOB_NOT_FINAL");
  server_.Succeed(server_.AwaitAssignment(), "adapter");
  EXPECT_EQ(ReasonOf(Delete(created.name(), "", false)), "JOB_HAS_ARTIFACTS");
  EXPECT_EQ(ReasonOf(Delete(created.name(), "wrong", true)), "ETAG_MISMATCH");
  const std::string artifacts = server_.config().data_dir + "/artifacts";
  EXPECT_EQ(common::ListFiles(artifacts).value().size(), 1u);
  ASSERT_TRUE(Delete(created.name(), "", true).ok());
  EXPECT_TRUE(common::ListFiles(artifacts).value().empty());
  v1::FineTuneJob job;
  EXPECT_EQ(ReasonOf(Get(created.name(), &job)), "JOB_NOT_FOUND");
  EXPECT_EQ(ReasonOf(Delete(created.name(), "", true)), "JOB_NOT_FOUND");
}

TEST_F(FineTuneServiceTest, ArtifactsOfDeletedJobsAreSweptAtStart) {
  const std::string orphan = server_.config().data_dir + "/artifacts/gone-job/1/adapter";
  ASSERT_OK(common::CreateDirectories(orphan));
  ASSERT_OK(common::AtomicWriteFile(orphan + "/a@0", "left over"));
  server_.Restart();
  EXPECT_TRUE(common::ListFiles(server_.config().data_dir + "/artifacts").value().empty());
}

TEST_F(FineTuneServiceTest, ResultsAreListedAndDownloadedFromAnyOffset) {
  server_.Synchronize();
  const v1::FineTuneJob created = server_.Create();
  v1::ListArtifactsRequest list;
  list.set_parent(created.name());
  v1::ListArtifactsResponse results;
  ASSERT_TRUE(Call(server_.jobs(), &v1::FineTuneService::Stub::ListArtifacts, list, &results).ok());
  EXPECT_EQ(results.artifacts_size(), 0);
  std::string content(900'000, 'a');
  content += "the end";
  server_.Succeed(server_.AwaitAssignment(), content);
  ASSERT_TRUE(Call(server_.jobs(), &v1::FineTuneService::Stub::ListArtifacts, list, &results).ok());
  ASSERT_EQ(results.artifacts_size(), 1);
  const std::string path = results.artifacts(0).path();
  std::string got;
  ASSERT_TRUE(Download(created.name(), path, 0, &got).ok());
  EXPECT_EQ(got, content);
  ASSERT_TRUE(Download(created.name(), path, 900'000, &got).ok());
  EXPECT_EQ(got, "the end");
  EXPECT_EQ(ReasonOf(Download(created.name(), path, 900'008, &got)), "OFFSET_BEYOND_END");
  EXPECT_EQ(ReasonOf(Download(created.name(), path, -1, &got)), "OFFSET_BEYOND_END");
  EXPECT_EQ(ReasonOf(Download(created.name(), "../../jobs.sqlite", 0, &got)), "ARTIFACT_NOT_FOUND");
  EXPECT_EQ(ReasonOf(Download("fineTuneJobs/none-such", path, 0, &got)), "JOB_NOT_FOUND");
}

TEST_F(FineTuneServiceTest, EventPagesHoldEveryEventInOrder) {
  server_.Synchronize();
  const v1::FineTuneJob created = server_.Create();
  server_.Succeed(server_.AwaitAssignment(), "adapter");
  v1::ListJobEventsRequest request;
  request.set_parent(created.name());
  request.set_page_size(2);
  v1::ListJobEventsResponse response;
  int64_t sequence = 0;
  do {
    response.Clear();
    ASSERT_TRUE(
        Call(server_.jobs(), &v1::FineTuneService::Stub::ListJobEvents, request, &response).ok());
    for (const auto& event : response.events()) EXPECT_EQ(event.sequence(), ++sequence);
    request.set_page_token(response.next_page_token());
  } while (!request.page_token().empty());
  v1::FineTuneJob job;
  ASSERT_TRUE(Get(created.name(), &job).ok());
  EXPECT_EQ(sequence, job.last_event_sequence());
  EXPECT_EQ(job.state(), v1::FineTuneJob::SUCCEEDED);
}

TEST_F(FineTuneServiceTest, WorkersAreListed) {
  server_.Synchronize({}, 2);
  grpc::ClientContext context;
  v1::ListWorkersResponse response;
  ASSERT_TRUE(server_.directory().ListWorkers(&context, {}, &response).ok());
  ASSERT_EQ(response.workers_size(), 1);
  EXPECT_EQ(response.workers(0).name(), "workers/w1");
  EXPECT_EQ(response.workers(0).state(), v1::Worker::CONNECTED);
  EXPECT_EQ(response.workers(0).devices_size(), 2);
}

}  // namespace
}  // namespace longlora::server
