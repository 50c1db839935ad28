#include "tests/worker/agent/fake_worker_service.h"

#include <poll.h>

#include <algorithm>
#include <limits>

#include "absl/strings/str_cat.h"
#include "common/io/sha256.h"
#include "rpc/grpc_status.h"

namespace longlora::worker {
namespace {

grpc::Status Refuse(absl::StatusCode code, const std::string& reason,
                    std::map<std::string, std::string> metadata = {}) {
  return rpc::ToGrpcStatus(rpc::MakeError(
      code, reason, {.reason = reason, .metadata = std::move(metadata), .violations = {}}));
}

grpc::Status Away() { return grpc::Status(grpc::StatusCode::UNAVAILABLE, "the test says so"); }

std::string UploadKey(const seam::ArtifactRef& ref) {
  return absl::StrCat(ref.job(), "@", ref.attempt(), ":", ref.artifact().path(), ":",
                      ref.artifact().sha256());
}

bool IsFinal(seam::AttemptStatus::State state) { return state >= seam::AttemptStatus::SUCCEEDED; }

}  // namespace

FakeWorkerService::FakeWorkerService() {
  grpc::ServerBuilder builder;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port_);
  builder.RegisterService(this);
  server_ = builder.BuildAndStart();
}

FakeWorkerService::~FakeWorkerService() {
  HoldStreams(false);
  server_->Shutdown(std::chrono::system_clock::now());
}

std::string FakeWorkerService::address() const { return absl::StrCat("127.0.0.1:", port_); }

std::shared_ptr<grpc::Channel> FakeWorkerService::Channel() const {
  return grpc::CreateChannel(address(), grpc::InsecureChannelCredentials());
}

void FakeWorkerService::Assign(const seam::Assignment& assignment) {
  absl::MutexLock lock(&mutex_);
  assignments_[{assignment.job(), assignment.attempt()}] = assignment;
}

void FakeWorkerService::SetDesired(const AttemptId& id, seam::Assignment::Desired desired) {
  absl::MutexLock lock(&mutex_);
  assignments_[id].set_desired(desired);
}

void FakeWorkerService::Unassign(const AttemptId& id) {
  absl::MutexLock lock(&mutex_);
  assignments_.erase(id);
}

void FakeWorkerService::SetLease(absl::Duration lease) {
  absl::MutexLock lock(&mutex_);
  lease_ = lease;
}

std::string FakeWorkerService::AddFile(const std::string& content) {
  return AddLyingFile(content, content);
}

std::string FakeWorkerService::AddLyingFile(const std::string& content,
                                            const std::string& claimed) {
  absl::MutexLock lock(&mutex_);
  const std::string name = "files/" + common::Sha256Hex(claimed);
  files_[name] = content;
  return name;
}

api::Artifact FakeWorkerService::AddStoredArtifact(const std::string& path,
                                                   const std::string& content) {
  absl::MutexLock lock(&mutex_);
  stored_artifacts_[path] = content;
  api::Artifact artifact;
  artifact.set_path(path);
  artifact.set_size_bytes(static_cast<int64_t>(content.size()));
  artifact.set_sha256(common::Sha256Hex(content));
  return artifact;
}

void FakeWorkerService::SetUnavailable(bool unavailable) {
  absl::MutexLock lock(&mutex_);
  unavailable_ = unavailable;
}

void FakeWorkerService::MakeStale(const AttemptId& id) {
  absl::MutexLock lock(&mutex_);
  stale_.insert(id);
  assignments_.erase(id);
}

void FakeWorkerService::RefuseName() {
  absl::MutexLock lock(&mutex_);
  refuse_name_ = true;
}

void FakeWorkerService::BreakStreams(int64_t after_bytes, int times) {
  absl::MutexLock lock(&mutex_);
  break_after_ = after_bytes;
  breaks_left_ = times;
}

void FakeWorkerService::HoldStreams(bool hold) {
  absl::MutexLock lock(&mutex_);
  hold_ = hold;
}

void FakeWorkerService::AskForConfirmation(int64_t number) {
  absl::MutexLock lock(&mutex_);
  confirmation_ = number;
}

std::vector<seam::SynchronizeRequest> FakeWorkerService::synchronize_requests() const {
  absl::MutexLock lock(&mutex_);
  return synchronize_requests_;
}

std::optional<seam::AttemptStatus> FakeWorkerService::ReportedStatus(const AttemptId& id) const {
  absl::MutexLock lock(&mutex_);
  const auto found = reported_.find(id);
  return found == reported_.end() ? std::nullopt : std::optional(found->second);
}

std::vector<api::JobEvent> FakeWorkerService::Events(const AttemptId& id) const {
  absl::MutexLock lock(&mutex_);
  const auto found = events_.find(id);
  return found == events_.end() ? std::vector<api::JobEvent>() : found->second;
}

std::vector<api::Checkpoint> FakeWorkerService::Checkpoints(const AttemptId& id) const {
  absl::MutexLock lock(&mutex_);
  const auto found = checkpoints_.find(id);
  return found == checkpoints_.end() ? std::vector<api::Checkpoint>() : found->second;
}

std::vector<api::Artifact> FakeWorkerService::Results(const AttemptId& id) const {
  absl::MutexLock lock(&mutex_);
  const auto found = results_.find(id);
  return found == results_.end() ? std::vector<api::Artifact>() : found->second;
}

std::string FakeWorkerService::ArtifactContent(const AttemptId& id, const std::string& path) const {
  absl::MutexLock lock(&mutex_);
  const std::string prefix = absl::StrCat(id.job, "@", id.attempt, ":", path, ":");
  for (const auto& [key, upload] : uploads_) {
    if (key.compare(0, prefix.size(), prefix) == 0 && upload.complete) return upload.content;
  }
  return "[none]";
}

int64_t FakeWorkerService::received_bytes() const {
  absl::MutexLock lock(&mutex_);
  return received_;
}

int64_t FakeWorkerService::sent_bytes() const {
  absl::MutexLock lock(&mutex_);
  return sent_;
}

int FakeWorkerService::held_streams() const {
  absl::MutexLock lock(&mutex_);
  return held_;
}

absl::Status FakeWorkerService::CheckFence(const std::string& job, int32_t attempt) {
  if (stale_.count({job, attempt}) == 0) return absl::OkStatus();
  return rpc::MakeError(absl::StatusCode::kFailedPrecondition, "another attempt took over",
                        {.reason = "STALE_ATTEMPT", .metadata = {}, .violations = {}});
}

grpc::Status FakeWorkerService::WaitWhileHeld(grpc::ServerContext* context) {
  {
    absl::MutexLock lock(&mutex_);
    if (!hold_) return grpc::Status::OK;
    ++held_;
  }
  bool held = true;
  while (held && !context->IsCancelled()) {
    poll(nullptr, 0, 5);
    absl::MutexLock lock(&mutex_);
    held = hold_;
  }
  absl::MutexLock lock(&mutex_);
  --held_;
  return context->IsCancelled() ? grpc::Status::CANCELLED : grpc::Status::OK;
}

int64_t FakeWorkerService::TakeBreak() {
  absl::MutexLock lock(&mutex_);
  if (breaks_left_ == 0) return std::numeric_limits<int64_t>::max();
  --breaks_left_;
  return break_after_;
}

grpc::Status FakeWorkerService::Synchronize(grpc::ServerContext*,
                                            const seam::SynchronizeRequest* request,
                                            seam::SynchronizeResponse* response) {
  absl::MutexLock lock(&mutex_);
  if (unavailable_) return Away();
  if (refuse_name_) return Refuse(absl::StatusCode::kAlreadyExists, "WORKER_NAME_TAKEN");
  if (request->number() <= confirmation_) {
    return Refuse(absl::StatusCode::kAborted, "REPORT_UNCONFIRMED",
                  {{"number", std::to_string(confirmation_)}});
  }
  synchronize_requests_.push_back(*request);
  for (const seam::AttemptStatus& status : request->attempts()) {
    const AttemptId id = {status.job(), status.attempt()};
    reported_[id] = status;
    if (IsFinal(status.state())) assignments_.erase(id);
  }
  for (const auto& [id, assignment] : assignments_) {
    *response->add_assignments() = assignment;
    response->mutable_assignments()->rbegin()->set_acknowledged_sequence(
        static_cast<int64_t>(events_[id].size()));
  }
  response->mutable_lease_duration()->set_seconds(absl::ToInt64Seconds(lease_));
  response->mutable_next_call_delay()->set_nanos(50'000'000);
  return grpc::Status::OK;
}

grpc::Status FakeWorkerService::ReportEvents(grpc::ServerContext*,
                                             const seam::ReportEventsRequest* request,
                                             seam::ReportEventsResponse* response) {
  absl::MutexLock lock(&mutex_);
  if (unavailable_) return Away();
  if (const absl::Status fence = CheckFence(request->job(), request->attempt()); !fence.ok()) {
    return rpc::ToGrpcStatus(fence);
  }
  std::vector<api::JobEvent>& events = events_[{request->job(), request->attempt()}];
  for (const seam::AttemptEvent& event : request->events()) {
    const auto next = static_cast<int64_t>(events.size()) + 1;
    if (event.sequence() < next) continue;
    if (event.sequence() > next) {
      return Refuse(absl::StatusCode::kOutOfRange, "SEQUENCE_GAP",
                    {{"acknowledged_sequence", absl::StrCat(next - 1)}});
    }
    events.push_back(event.event());
  }
  response->set_acknowledged_sequence(static_cast<int64_t>(events.size()));
  return grpc::Status::OK;
}

grpc::Status FakeWorkerService::GetArtifactStatus(grpc::ServerContext*,
                                                  const seam::GetArtifactStatusRequest* request,
                                                  seam::GetArtifactStatusResponse* response) {
  absl::MutexLock lock(&mutex_);
  if (unavailable_) return Away();
  const seam::ArtifactRef& ref = request->artifact();
  if (const absl::Status fence = CheckFence(ref.job(), ref.attempt()); !fence.ok()) {
    return rpc::ToGrpcStatus(fence);
  }
  const Upload& upload = uploads_[UploadKey(ref)];
  response->set_received_bytes(static_cast<int64_t>(upload.content.size()));
  response->set_complete(upload.complete);
  return grpc::Status::OK;
}

grpc::Status FakeWorkerService::UploadArtifact(
    grpc::ServerContext* context, grpc::ServerReader<seam::UploadArtifactRequest>* reader,
    seam::UploadArtifactResponse* response) {
  if (const grpc::Status held = WaitWhileHeld(context); !held.ok()) return held;
  seam::UploadArtifactRequest request;
  if (!reader->Read(&request) || !request.has_header())
    return Refuse(absl::StatusCode::kInvalidArgument, "NO_HEADER");
  const seam::UploadArtifactHeader header = request.header();
  const std::string key = UploadKey(header.artifact());
  int64_t left = TakeBreak();
  while (reader->Read(&request)) {
    absl::MutexLock lock(&mutex_);
    if (unavailable_) return Away();
    Upload& upload = uploads_[key];
    const auto size = static_cast<int64_t>(request.data().size());
    if (size > (1 << 20)) return Refuse(absl::StatusCode::kInvalidArgument, "CHUNK_TOO_LARGE");
    upload.content += request.data().substr(0, static_cast<size_t>(std::min(left, size)));
    received_ += std::min(left, size);
    left -= size;
    if (left <= 0) return Away();
  }
  absl::MutexLock lock(&mutex_);
  Upload& upload = uploads_[key];
  if (common::Sha256Hex(upload.content) != header.artifact().artifact().sha256()) {
    upload.content.clear();
    return Refuse(absl::StatusCode::kInvalidArgument, "DIGEST_MISMATCH");
  }
  upload.complete = true;
  response->set_received_bytes(static_cast<int64_t>(upload.content.size()));
  return grpc::Status::OK;
}

grpc::Status FakeWorkerService::CommitArtifacts(grpc::ServerContext*,
                                                const seam::CommitArtifactsRequest* request,
                                                seam::CommitArtifactsResponse*) {
  absl::MutexLock lock(&mutex_);
  if (unavailable_) return Away();
  if (const absl::Status fence = CheckFence(request->job(), request->attempt()); !fence.ok()) {
    return rpc::ToGrpcStatus(fence);
  }
  const AttemptId id = {request->job(), request->attempt()};
  const auto& artifacts = request->has_checkpoint() ? request->checkpoint().artifacts()
                                                    : request->results().artifacts();
  for (const api::Artifact& artifact : artifacts) {
    const std::string key =
        absl::StrCat(id.job, "@", id.attempt, ":", artifact.path(), ":", artifact.sha256());
    if (!uploads_[key].complete)
      return Refuse(absl::StatusCode::kFailedPrecondition, "ARTIFACT_MISSING");
  }
  if (request->has_checkpoint()) {
    checkpoints_[id].push_back(request->checkpoint());
  } else {
    results_[id].assign(artifacts.begin(), artifacts.end());
  }
  return grpc::Status::OK;
}

template <typename Response>
grpc::Status FakeWorkerService::Send(grpc::ServerContext* context, const std::string& content,
                                     int64_t offset, grpc::ServerWriter<Response>* writer) {
  if (const grpc::Status held = WaitWhileHeld(context); !held.ok()) return held;
  if (offset > static_cast<int64_t>(content.size())) {
    return Refuse(absl::StatusCode::kOutOfRange, "OFFSET_BEYOND_END");
  }
  int64_t left = TakeBreak();
  constexpr int64_t kPiece = 1000;
  while (offset < static_cast<int64_t>(content.size())) {
    if (left <= 0) return Away();
    const int64_t size = std::min({kPiece, left, static_cast<int64_t>(content.size()) - offset});
    Response response;
    response.set_data(content.substr(static_cast<size_t>(offset), static_cast<size_t>(size)));
    if (!writer->Write(response)) return grpc::Status::CANCELLED;
    offset += size;
    left -= size;
    absl::MutexLock lock(&mutex_);
    sent_ += size;
  }
  return grpc::Status::OK;
}

grpc::Status FakeWorkerService::FetchFile(grpc::ServerContext* context,
                                          const seam::FetchFileRequest* request,
                                          grpc::ServerWriter<seam::FetchFileResponse>* writer) {
  std::string content;
  {
    absl::MutexLock lock(&mutex_);
    if (unavailable_) return Away();
    const auto found = files_.find(request->name());
    if (found == files_.end()) return Refuse(absl::StatusCode::kNotFound, "FILE_NOT_FOUND");
    content = found->second;
  }
  return Send(context, content, request->offset(), writer);
}

grpc::Status FakeWorkerService::FetchArtifact(
    grpc::ServerContext* context, const seam::FetchArtifactRequest* request,
    grpc::ServerWriter<seam::FetchArtifactResponse>* writer) {
  std::string content;
  {
    absl::MutexLock lock(&mutex_);
    if (unavailable_) return Away();
    const auto found = stored_artifacts_.find(request->path());
    if (found == stored_artifacts_.end())
      return Refuse(absl::StatusCode::kNotFound, "ARTIFACT_NOT_FOUND");
    content = found->second;
  }
  return Send(context, content, request->offset(), writer);
}

}  // namespace longlora::worker
