#include "server/api/fine_tune_service.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/status/status_macros.h"
#include "rpc/grpc_status.h"
#include "server/api/client_identity.h"
#include "server/api/edge_status.h"
#include "server/api/job_estimate.h"
#include "server/api/page_token.h"
#include "server/api/read_only.h"
#include "server/api/submit_check.h"
#include "server/events/job_errors.h"

namespace longlora::server {

absl::Status FineTuneServiceHandler::CheckRate(const grpc::CallbackServerContext& context) {
  const std::string client = ClientOf(context);
  const absl::Duration wait = to_.creates->Take(client);
  if (wait == absl::ZeroDuration()) return absl::OkStatus();
  return rpc::MakeError(
      absl::StatusCode::kResourceExhausted,
      absl::StrCat(client,
                   " makes more jobs than this server takes of one client "
                   "(--max-creates-per-second); try again in ",
                   absl::FormatDuration(wait)),
      {.reason = "TOO_MANY_CREATES", .metadata = {{"client", client}}, .retry_delay = wait});
}

Answer<v1::FineTuneJob> FineTuneServiceHandler::Create(
    const v1::CreateFineTuneJobRequest& request) {
  LONGLORA_RETURN_IF_ERROR(CheckSpecSize(request.spec(), to_.max_spec_bytes));
  LONGLORA_RETURN_IF_ERROR(CheckSubmit(request, *to_.datasets));
  SubmitRequest submit;
  submit.spec = request.spec();
  submit.request_id = request.request_id();
  submit.validate_only = request.validate_only();
  return to_.scheduler->BeginSubmit(std::move(submit));
}

absl::StatusOr<v1::ListFineTuneJobsResponse> FineTuneServiceHandler::List(
    const v1::ListFineTuneJobsRequest& request) {
  JobQuery query;
  for (const int state : request.states()) {
    query.states.push_back(static_cast<v1::FineTuneJob::State>(state));
  }
  std::sort(query.states.begin(), query.states.end());
  const std::string arguments = absl::StrCat("jobs ", absl::StrJoin(query.states, ","));
  LONGLORA_ASSIGN_OR_RETURN(query.limit, PageSize(request.page_size()));
  LONGLORA_ASSIGN_OR_RETURN(query.before_order, ParsePageToken(arguments, request.page_token()));
  LONGLORA_ASSIGN_OR_RETURN(JobPage page, to_.reader->ListJobs(query));
  v1::ListFineTuneJobsResponse response;
  for (v1::FineTuneJob& job : page.jobs) *response.add_jobs() = std::move(job);
  if (page.next_before_order > 0) {
    response.set_next_page_token(MakePageToken(arguments, page.next_before_order));
  }
  return response;
}

absl::StatusOr<v1::ListJobEventsResponse> FineTuneServiceHandler::ListEvents(
    const v1::ListJobEventsRequest& request) {
  LONGLORA_RETURN_IF_ERROR(JobIdOf(request.parent(), "parent").status());
  const std::string arguments = absl::StrCat("events ", request.parent());
  LONGLORA_ASSIGN_OR_RETURN(const int32_t limit, PageSize(request.page_size()));
  LONGLORA_ASSIGN_OR_RETURN(const int64_t after, ParsePageToken(arguments, request.page_token()));
  LONGLORA_ASSIGN_OR_RETURN(EventPage page, to_.events->Read(request.parent(), after, limit));
  v1::ListJobEventsResponse response;
  for (v1::JobEvent& event : page.events) *response.add_events() = std::move(event);
  if (!response.events().empty()) {
    const int64_t last = response.events().rbegin()->sequence();
    if (last < page.last_event_sequence) {
      response.set_next_page_token(MakePageToken(arguments, last));
    }
  }
  return response;
}

absl::StatusOr<google::protobuf::Empty> FineTuneServiceHandler::Delete(
    const v1::DeleteFineTuneJobRequest& request) {
  LONGLORA_ASSIGN_OR_RETURN(const std::string id, JobIdOf(request.name()));
  LONGLORA_RETURN_IF_ERROR(to_.scheduler->Delete(request.name(), request.etag(), request.force()));
  // The job is gone; files that stay are swept when the server starts again.
  if (absl::Status status = to_.artifacts->RemoveJob(id); !status.ok()) {
    spdlog::warn("{}: its artifacts stay: {}", request.name(), status.ToString());
  }
  return google::protobuf::Empty();
}

absl::Status FineTuneServiceHandler::Download(
    const v1::DownloadArtifactRequest& request,
    grpc::ServerWriter<v1::DownloadArtifactResponse>* writer) {
  LONGLORA_ASSIGN_OR_RETURN(const TransferLimit::Slot slot, to_.transfers->Take());
  ArtifactKey key;
  LONGLORA_ASSIGN_OR_RETURN(key.job_id, JobIdOf(request.parent(), "parent"));
  LONGLORA_ASSIGN_OR_RETURN(const OwnedArtifact found,
                            to_.reader->FindArtifact(request.parent(), request.path()));
  key.attempt = found.attempt;
  key.path = found.artifact.path();
  key.size_bytes = found.artifact.size_bytes();
  key.sha256 = found.artifact.sha256();
  LONGLORA_ASSIGN_OR_RETURN(std::unique_ptr<ChunkReader> content,
                            to_.artifacts->Read(key, request.offset()));
  return Send(*content, writer);
}

absl::StatusOr<v1::ListCheckpointsResponse> FineTuneServiceHandler::Checkpoints(
    const std::string& job) {
  LONGLORA_RETURN_IF_ERROR(JobIdOf(job, "parent").status());
  LONGLORA_ASSIGN_OR_RETURN(std::vector<v1::Checkpoint> checkpoints,
                            to_.reader->ListCheckpoints(job));
  v1::ListCheckpointsResponse response;
  for (v1::Checkpoint& checkpoint : checkpoints) {
    *response.add_checkpoints() = std::move(checkpoint);
  }
  return response;
}

absl::StatusOr<v1::ListArtifactsResponse> FineTuneServiceHandler::Results(const std::string& job) {
  LONGLORA_RETURN_IF_ERROR(JobIdOf(job, "parent").status());
  LONGLORA_ASSIGN_OR_RETURN(std::vector<v1::Artifact> results, to_.reader->ListResults(job));
  v1::ListArtifactsResponse response;
  for (v1::Artifact& artifact : results) *response.add_artifacts() = std::move(artifact);
  return response;
}

grpc::ServerUnaryReactor* FineTuneServiceHandler::CreateFineTuneJob(
    grpc::CallbackServerContext* context, const v1::CreateFineTuneJobRequest* request,
    v1::FineTuneJob* response) {
  return UnlessReadOnly(context, to_.scheduler, [&] {
    if (absl::Status status = CheckRate(*context); !status.ok()) {
      return UnaryCalls::Refuse(context->DefaultReactor(), status);
    }
    return to_.calls->Start(
        context, request, response, [this, request] { return Create(*request); },
        NeedsReading(request->spec(), *to_.datasets) ? UnaryCalls::Length::kLong
                                                     : UnaryCalls::Length::kShort);
  });
}

grpc::ServerUnaryReactor* FineTuneServiceHandler::EstimateFineTuneJob(
    grpc::CallbackServerContext* context, const v1::EstimateFineTuneJobRequest* request,
    v1::EstimateFineTuneJobResponse* response) {
  return UnlessReadOnly(context, to_.scheduler, [&] {
    return to_.calls->Start(
        context, request, response,
        [this, request]() -> absl::StatusOr<v1::EstimateFineTuneJobResponse> {
          LONGLORA_RETURN_IF_ERROR(CheckSpecSize(request->spec(), to_.max_spec_bytes));
          return EstimateJob(*request, *to_.scheduler);
        });
  });
}

grpc::ServerUnaryReactor* FineTuneServiceHandler::GetFineTuneJob(
    grpc::CallbackServerContext* context, const v1::GetFineTuneJobRequest* request,
    v1::FineTuneJob* response) {
  return to_.calls->Start(context, request, response,
                          [this, request] { return to_.reader->BeginGetJob(request->name()); });
}

grpc::ServerUnaryReactor* FineTuneServiceHandler::ListFineTuneJobs(
    grpc::CallbackServerContext* context, const v1::ListFineTuneJobsRequest* request,
    v1::ListFineTuneJobsResponse* response) {
  return to_.calls->Start(context, request, response, [this, request] { return List(*request); });
}

template <typename Request>
grpc::ServerUnaryReactor* FineTuneServiceHandler::Ask(JobTrigger trigger,
                                                      grpc::CallbackServerContext* context,
                                                      const Request* request,
                                                      v1::FineTuneJob* response) {
  return UnlessReadOnly(context, to_.scheduler, [&] {
    return to_.calls->Start(context, request, response, [this, trigger, request] {
      return to_.scheduler->BeginAsk(trigger, request->name(), request->etag());
    });
  });
}

grpc::ServerUnaryReactor* FineTuneServiceHandler::CancelFineTuneJob(
    grpc::CallbackServerContext* context, const v1::CancelFineTuneJobRequest* request,
    v1::FineTuneJob* response) {
  return Ask(JobTrigger::kCancel, context, request, response);
}

grpc::ServerUnaryReactor* FineTuneServiceHandler::PauseFineTuneJob(
    grpc::CallbackServerContext* context, const v1::PauseFineTuneJobRequest* request,
    v1::FineTuneJob* response) {
  return Ask(JobTrigger::kPause, context, request, response);
}

grpc::ServerUnaryReactor* FineTuneServiceHandler::ResumeFineTuneJob(
    grpc::CallbackServerContext* context, const v1::ResumeFineTuneJobRequest* request,
    v1::FineTuneJob* response) {
  return Ask(JobTrigger::kResume, context, request, response);
}

grpc::ServerUnaryReactor* FineTuneServiceHandler::DeleteFineTuneJob(
    grpc::CallbackServerContext* context, const v1::DeleteFineTuneJobRequest* request,
    google::protobuf::Empty* response) {
  return UnlessReadOnly(context, to_.scheduler, [&] {
    return to_.calls->Start(context, request, response,
                            [this, request] { return Delete(*request); });
  });
}

grpc::ServerWriteReactor<v1::WatchFineTuneJobResponse>* FineTuneServiceHandler::WatchFineTuneJob(
    grpc::CallbackServerContext* context, const v1::WatchFineTuneJobRequest* request) {
  return to_.watches->Start(context, *request);
}

grpc::ServerUnaryReactor* FineTuneServiceHandler::ListJobEvents(
    grpc::CallbackServerContext* context, const v1::ListJobEventsRequest* request,
    v1::ListJobEventsResponse* response) {
  return to_.calls->Start(context, request, response,
                          [this, request] { return ListEvents(*request); });
}

grpc::ServerUnaryReactor* FineTuneServiceHandler::ListCheckpoints(
    grpc::CallbackServerContext* context, const v1::ListCheckpointsRequest* request,
    v1::ListCheckpointsResponse* response) {
  return to_.calls->Start(context, request, response,
                          [this, request] { return Checkpoints(request->parent()); });
}

grpc::ServerUnaryReactor* FineTuneServiceHandler::ListArtifacts(
    grpc::CallbackServerContext* context, const v1::ListArtifactsRequest* request,
    v1::ListArtifactsResponse* response) {
  return to_.calls->Start(context, request, response,
                          [this, request] { return Results(request->parent()); });
}

grpc::Status FineTuneServiceHandler::DownloadArtifact(
    grpc::ServerContext*, const v1::DownloadArtifactRequest* request,
    grpc::ServerWriter<v1::DownloadArtifactResponse>* writer) {
  return ToReply(Download(*request, writer));
}

}  // namespace longlora::server
