#include "server/api/worker_service.h"

#include <spdlog/spdlog.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/status/status_macros.h"
#include "rpc/grpc_status.h"
#include "server/api/edge_status.h"
#include "server/api/file_name.h"
#include "server/events/job_errors.h"

namespace longlora::server {
namespace {

ArtifactKey MakeKey(std::string job_id, int32_t attempt, const v1::Artifact& artifact) {
  ArtifactKey key;
  key.job_id = std::move(job_id);
  key.attempt = attempt;
  key.path = artifact.path();
  key.size_bytes = artifact.size_bytes();
  key.sha256 = artifact.sha256();
  return key;
}

const google::protobuf::RepeatedPtrField<v1::Artifact>& ArtifactsOf(
    const worker::v1::CommitArtifactsRequest& request) {
  return request.has_checkpoint() ? request.checkpoint().artifacts()
                                  : request.results().artifacts();
}

}  // namespace

Answer<worker::v1::SynchronizeResponse> WorkerServiceHandler::Decide(
    const worker::v1::SynchronizeRequest& request) {
  return to_.scheduler->BeginSynchronize(request);
}

Answer<worker::v1::ReportEventsResponse> WorkerServiceHandler::Decide(
    const worker::v1::ReportEventsRequest& request) {
  return to_.scheduler->BeginRecordEvents(request).Then(
      [](absl::StatusOr<int64_t> acknowledged) -> absl::StatusOr<worker::v1::ReportEventsResponse> {
        LONGLORA_RETURN_IF_ERROR(acknowledged.status());
        worker::v1::ReportEventsResponse answer;
        answer.set_acknowledged_sequence(*acknowledged);
        return answer;
      });
}

absl::StatusOr<ArtifactKey> WorkerServiceHandler::CheckedKey(const worker::v1::ArtifactRef& ref) {
  LONGLORA_ASSIGN_OR_RETURN(std::string job_id, JobIdOf(ref.job(), "job"));
  LONGLORA_RETURN_IF_ERROR(to_.scheduler->CheckAttempt(ref.worker(), ref.job(), ref.attempt()));
  return MakeKey(std::move(job_id), ref.attempt(), ref.artifact());
}

Answer<worker::v1::GetArtifactStatusResponse> WorkerServiceHandler::Decide(
    const worker::v1::GetArtifactStatusRequest& request) {
  LONGLORA_ASSIGN_OR_RETURN(const ArtifactKey key, CheckedKey(request.artifact()));
  LONGLORA_ASSIGN_OR_RETURN(const ArtifactState state, to_.artifacts->GetState(key));
  worker::v1::GetArtifactStatusResponse response;
  response.set_received_bytes(state.received_bytes);
  response.set_complete(state.complete);
  return response;
}

absl::Status WorkerServiceHandler::Upload(
    grpc::ServerContext* context, grpc::ServerReader<worker::v1::UploadArtifactRequest>* reader,
    worker::v1::UploadArtifactResponse* response) {
  LONGLORA_ASSIGN_OR_RETURN(const TransferLimit::Slot slot, to_.transfers->Take());
  worker::v1::UploadArtifactRequest first;
  if (!reader->Read(&first) || !first.has_header()) return HeaderMissing();
  const worker::v1::ArtifactRef& ref = first.header().artifact();
  LONGLORA_ASSIGN_OR_RETURN(const ArtifactKey key, CheckedKey(ref));
  LONGLORA_ASSIGN_OR_RETURN(std::unique_ptr<ResumableUpload> upload,
                            to_.artifacts->Begin(key, first.header().offset()));
  response->set_received_bytes(key.size_bytes);
  if (upload == nullptr) return absl::OkStatus();
  return Receive(context, reader, *upload, [&] {
    return to_.scheduler->CheckAttempt(ref.worker(), ref.job(), ref.attempt());
  });
}

Answer<worker::v1::CommitArtifactsResponse> WorkerServiceHandler::Decide(
    const worker::v1::CommitArtifactsRequest& request) {
  LONGLORA_ASSIGN_OR_RETURN(const std::string job_id, JobIdOf(request.job(), "job"));
  LONGLORA_RETURN_IF_ERROR(
      to_.scheduler->CheckAttempt(request.worker(), request.job(), request.attempt()));
  for (const v1::Artifact& artifact : ArtifactsOf(request)) {
    LONGLORA_ASSIGN_OR_RETURN(const ArtifactState state, to_.artifacts->GetState(MakeKey(
                                                             job_id, request.attempt(), artifact)));
    if (!state.complete) {
      return rpc::MakeError(
          absl::StatusCode::kFailedPrecondition,
          absl::StrCat("artifact ", artifact.path(), " is not stored whole; upload it first"),
          {.reason = "ARTIFACT_MISSING", .metadata = {{"path", artifact.path()}}});
    }
  }
  return to_.scheduler->BeginCommitArtifacts(request).Then(
      [this, job_id](absl::StatusOr<std::vector<v1::Checkpoint>> dropped)
          -> absl::StatusOr<worker::v1::CommitArtifactsResponse> {
        LONGLORA_RETURN_IF_ERROR(dropped.status());
        RemoveFiles(job_id, *dropped);
        return worker::v1::CommitArtifactsResponse();
      });
}

// The commit is durable; a file that stays is removed with its job.
void WorkerServiceHandler::RemoveFiles(const std::string& job_id,
                                       const std::vector<v1::Checkpoint>& dropped) {
  for (const v1::Checkpoint& checkpoint : dropped) {
    for (const v1::Artifact& artifact : checkpoint.artifacts()) {
      if (absl::Status status =
              to_.artifacts->Remove(MakeKey(job_id, checkpoint.attempt(), artifact));
          !status.ok()) {
        spdlog::warn("{}: an old checkpoint's file stays: {}", job_id, status.ToString());
      }
    }
  }
}

absl::Status WorkerServiceHandler::SendFile(
    const worker::v1::FetchFileRequest& request,
    grpc::ServerWriter<worker::v1::FetchFileResponse>* writer) {
  LONGLORA_ASSIGN_OR_RETURN(const TransferLimit::Slot slot, to_.transfers->Take());
  LONGLORA_ASSIGN_OR_RETURN(const std::string sha256, ParseFileName(request.name()));
  LONGLORA_ASSIGN_OR_RETURN(std::unique_ptr<ChunkReader> content,
                            to_.files->Read(sha256, request.offset()));
  return Send(*content, writer);
}

absl::Status WorkerServiceHandler::SendArtifact(
    const worker::v1::FetchArtifactRequest& request,
    grpc::ServerWriter<worker::v1::FetchArtifactResponse>* writer) {
  LONGLORA_ASSIGN_OR_RETURN(const TransferLimit::Slot slot, to_.transfers->Take());
  LONGLORA_ASSIGN_OR_RETURN(std::string job_id, JobIdOf(request.job(), "job"));
  LONGLORA_RETURN_IF_ERROR(
      to_.scheduler->CheckAttempt(request.worker(), request.job(), request.attempt()));
  LONGLORA_ASSIGN_OR_RETURN(const OwnedArtifact found,
                            to_.scheduler->FindArtifact(request.job(), request.path()));
  LONGLORA_ASSIGN_OR_RETURN(
      std::unique_ptr<ChunkReader> content,
      to_.artifacts->Read(MakeKey(std::move(job_id), found.attempt, found.artifact),
                          request.offset()));
  return Send(*content, writer);
}

grpc::ServerUnaryReactor* WorkerServiceHandler::Synchronize(
    grpc::CallbackServerContext* context, const worker::v1::SynchronizeRequest* request,
    worker::v1::SynchronizeResponse* response) {
  return to_.calls->Start(context, request, response, [this, request] { return Decide(*request); });
}

grpc::ServerUnaryReactor* WorkerServiceHandler::ReportEvents(
    grpc::CallbackServerContext* context, const worker::v1::ReportEventsRequest* request,
    worker::v1::ReportEventsResponse* response) {
  return to_.calls->Start(context, request, response, [this, request] { return Decide(*request); });
}

grpc::ServerUnaryReactor* WorkerServiceHandler::GetArtifactStatus(
    grpc::CallbackServerContext* context, const worker::v1::GetArtifactStatusRequest* request,
    worker::v1::GetArtifactStatusResponse* response) {
  return to_.calls->Start(context, request, response, [this, request] { return Decide(*request); });
}

grpc::ServerUnaryReactor* WorkerServiceHandler::CommitArtifacts(
    grpc::CallbackServerContext* context, const worker::v1::CommitArtifactsRequest* request,
    worker::v1::CommitArtifactsResponse* response) {
  return to_.calls->Start(context, request, response, [this, request] { return Decide(*request); });
}

grpc::Status WorkerServiceHandler::UploadArtifact(
    grpc::ServerContext* context, grpc::ServerReader<worker::v1::UploadArtifactRequest>* reader,
    worker::v1::UploadArtifactResponse* response) {
  return ToReply(Upload(context, reader, response));
}

grpc::Status WorkerServiceHandler::FetchFile(
    grpc::ServerContext*, const worker::v1::FetchFileRequest* request,
    grpc::ServerWriter<worker::v1::FetchFileResponse>* writer) {
  return ToReply(SendFile(*request, writer));
}

grpc::Status WorkerServiceHandler::FetchArtifact(
    grpc::ServerContext*, const worker::v1::FetchArtifactRequest* request,
    grpc::ServerWriter<worker::v1::FetchArtifactResponse>* writer) {
  return ToReply(SendArtifact(*request, writer));
}

}  // namespace longlora::server
