#include "worker/agent/server_link.h"

#include <errno.h>
#include <unistd.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/io/files.h"
#include "rpc/grpc_status.h"

namespace longlora::worker {
namespace {

constexpr absl::Duration kCallTimeout = absl::Seconds(20);
// A stream that takes longer is cut and resumed; what has arrived is kept.
constexpr absl::Duration kStreamTimeout = absl::Minutes(10);

// Reads a stream of pieces to its end.
template <typename Response>
absl::Status ReadPieces(grpc::ClientContext& context,
                        std::unique_ptr<grpc::ClientReaderInterface<Response>> reader,
                        ServerLink::OnData on_data) {
  Response response;
  absl::Status taken;
  while (taken.ok() && reader->Read(&response)) taken = on_data(response.data());
  if (!taken.ok()) context.TryCancel();
  const grpc::Status finished = reader->Finish();
  return taken.ok() ? rpc::FromGrpcStatus(finished) : taken;
}

}  // namespace

bool IsStale(const absl::Status& status) {
  return rpc::GetErrorDetails(status).reason == "STALE_ATTEMPT";
}

ServerLink::ServerLink(std::unique_ptr<Stub> stub, std::string worker, common::Clock* clock)
    : stub_(std::move(stub)), worker_(std::move(worker)), clock_(clock) {}

void ServerLink::SetTimeout(grpc::ClientContext& context, absl::Duration timeout) const {
  context.set_deadline(absl::ToChronoTime(clock_->Now() + timeout));
}

absl::StatusOr<seam::SynchronizeResponse> ServerLink::Synchronize(
    const seam::SynchronizeRequest& request, absl::Duration timeout) {
  grpc::ClientContext context;
  SetTimeout(context, timeout);
  seam::SynchronizeResponse response;
  const grpc::Status status = stub_->Synchronize(&context, request, &response);
  if (!status.ok()) return rpc::FromGrpcStatus(status);
  return response;
}

absl::StatusOr<int64_t> ServerLink::ReportEvents(const AttemptId& id,
                                                 const std::vector<seam::AttemptEvent>& events,
                                                 Cancellation* cancellation) {
  grpc::ClientContext context;
  SetTimeout(context, kCallTimeout);
  const Cancellation::Scope scope(cancellation, &context);
  seam::ReportEventsRequest request;
  request.set_worker(worker_);
  request.set_job(id.job);
  request.set_attempt(id.attempt);
  for (const seam::AttemptEvent& event : events) *request.add_events() = event;
  seam::ReportEventsResponse response;
  const grpc::Status status = stub_->ReportEvents(&context, request, &response);
  if (!status.ok()) return rpc::FromGrpcStatus(status);
  return response.acknowledged_sequence();
}

seam::ArtifactRef ServerLink::MakeRef(const AttemptId& id, const api::Artifact& artifact) const {
  seam::ArtifactRef ref;
  ref.set_worker(worker_);
  ref.set_job(id.job);
  ref.set_attempt(id.attempt);
  *ref.mutable_artifact() = artifact;
  return ref;
}

absl::StatusOr<seam::GetArtifactStatusResponse> ServerLink::GetArtifactStatus(
    const AttemptId& id, const api::Artifact& artifact, Cancellation* cancellation) {
  grpc::ClientContext context;
  SetTimeout(context, kCallTimeout);
  const Cancellation::Scope scope(cancellation, &context);
  seam::GetArtifactStatusRequest request;
  *request.mutable_artifact() = MakeRef(id, artifact);
  seam::GetArtifactStatusResponse response;
  const grpc::Status status = stub_->GetArtifactStatus(&context, request, &response);
  if (!status.ok()) return rpc::FromGrpcStatus(status);
  return response;
}

absl::Status ServerLink::UploadArtifact(const AttemptId& id, const api::Artifact& artifact, int fd,
                                        int64_t offset, absl::FunctionRef<void(int64_t)> on_sent,
                                        Cancellation* cancellation) {
  grpc::ClientContext context;
  SetTimeout(context, kStreamTimeout);
  const Cancellation::Scope scope(cancellation, &context);
  seam::UploadArtifactResponse response;
  const auto writer = stub_->UploadArtifact(&context, &response);
  seam::UploadArtifactRequest request;
  *request.mutable_header()->mutable_artifact() = MakeRef(id, artifact);
  request.mutable_header()->set_offset(offset);
  bool open = writer->Write(request);
  std::string buffer(kChunkBytesMax, '\0');
  absl::Status read_status;
  while (open) {
    const ssize_t got = pread(fd, buffer.data(), buffer.size(), offset);
    if (got < 0) {
      read_status = common::ErrnoStatus(errno, "read", artifact.path());
      context.TryCancel();
    }
    if (got <= 0) break;
    request.set_data(buffer.data(), static_cast<size_t>(got));
    open = writer->Write(request);
    if (open) on_sent(got);
    offset += got;
  }
  writer->WritesDone();
  const grpc::Status status = writer->Finish();
  return read_status.ok() ? rpc::FromGrpcStatus(status) : read_status;
}

absl::Status ServerLink::CommitCheckpoint(const AttemptId& id, const api::Checkpoint& checkpoint,
                                          Cancellation* cancellation) {
  seam::CommitArtifactsRequest request;
  request.set_job(id.job);
  request.set_attempt(id.attempt);
  *request.mutable_checkpoint() = checkpoint;
  return Commit(request, cancellation);
}

absl::Status ServerLink::CommitResults(const AttemptId& id,
                                       const std::vector<api::Artifact>& artifacts,
                                       Cancellation* cancellation) {
  seam::CommitArtifactsRequest request;
  request.set_job(id.job);
  request.set_attempt(id.attempt);
  for (const api::Artifact& artifact : artifacts)
    *request.mutable_results()->add_artifacts() = artifact;
  return Commit(request, cancellation);
}

absl::Status ServerLink::Commit(const seam::CommitArtifactsRequest& request,
                                Cancellation* cancellation) {
  grpc::ClientContext context;
  SetTimeout(context, kCallTimeout);
  const Cancellation::Scope scope(cancellation, &context);
  seam::CommitArtifactsRequest complete = request;
  complete.set_worker(worker_);
  seam::CommitArtifactsResponse response;
  return rpc::FromGrpcStatus(stub_->CommitArtifacts(&context, complete, &response));
}

absl::Status ServerLink::FetchFile(const std::string& name, int64_t offset, OnData on_data,
                                   Cancellation* cancellation) {
  grpc::ClientContext context;
  SetTimeout(context, kStreamTimeout);
  const Cancellation::Scope scope(cancellation, &context);
  seam::FetchFileRequest request;
  request.set_name(name);
  request.set_offset(offset);
  return ReadPieces(context, stub_->FetchFile(&context, request), on_data);
}

absl::Status ServerLink::FetchArtifact(const AttemptId& id, const std::string& path, int64_t offset,
                                       OnData on_data, Cancellation* cancellation) {
  grpc::ClientContext context;
  SetTimeout(context, kStreamTimeout);
  const Cancellation::Scope scope(cancellation, &context);
  seam::FetchArtifactRequest request;
  request.set_worker(worker_);
  request.set_job(id.job);
  request.set_attempt(id.attempt);
  request.set_path(path);
  request.set_offset(offset);
  return ReadPieces(context, stub_->FetchArtifact(&context, request), on_data);
}

}  // namespace longlora::worker
