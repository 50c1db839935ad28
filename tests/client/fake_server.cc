#include "tests/client/fake_server.h"

#include <grpcpp/server_builder.h>

#include <algorithm>
#include <cstdlib>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/io/sha256.h"
#include "rpc/grpc_status.h"

namespace longlora::client {
namespace {

constexpr size_t kDownloadChunk = 1000;

grpc::Status Error(absl::StatusCode code, absl::string_view reason, absl::string_view message) {
  return rpc::ToGrpcStatus(rpc::MakeError(
      code, message, {.reason = std::string(reason), .metadata = {}, .violations = {}}));
}

grpc::Status NoJob(const std::string& name) {
  return Error(absl::StatusCode::kNotFound, "JOB_NOT_FOUND", absl::StrCat("there is no ", name));
}

bool Final(v1::FineTuneJob::State state) { return state >= v1::FineTuneJob::SUCCEEDED; }

std::string NameOf(const std::string& id) { return absl::StrCat("fineTuneJobs/", id); }

// Events a second apart from a fixed moment, so that lines can be golden.
void SetTime(v1::JobEvent& event) {
  event.mutable_event_time()->set_seconds(1'700'000'000 + event.sequence());
}

}  // namespace

FakeServer::FakeServer() {
  address_ = "127.0.0.1:0";
  Start();
}

FakeServer::~FakeServer() { Stop(); }

void FakeServer::Start() {
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = false;
  }
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort(address_, grpc::InsecureServerCredentials(), &port);
  builder.RegisterService(static_cast<v1::FineTuneService::Service*>(this));
  builder.RegisterService(static_cast<v1::FileService::Service*>(this));
  builder.RegisterService(static_cast<v1::WorkerDirectoryService::Service*>(this));
  server_ = builder.BuildAndStart();
  if (server_ == nullptr) std::abort();
  address_ = absl::StrCat("127.0.0.1:", port);
}

void FakeServer::Stop() {
  if (server_ == nullptr) return;
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
  }
  server_->Shutdown(std::chrono::system_clock::now());
  server_->Wait();
  server_.reset();
}

void FakeServer::AddJob(const std::string& id, v1::FineTuneJob::State state) {
  absl::MutexLock lock(&mutex_);
  Job& job = jobs_[NameOf(id)];
  job.job.set_name(NameOf(id));
  job.job.set_state(state);
  job.job.mutable_create_time()->set_seconds(1'700'000'000);
}

void FakeServer::EditJob(const std::string& id, const std::function<void(v1::FineTuneJob&)>& edit) {
  absl::MutexLock lock(&mutex_);
  edit(jobs_[NameOf(id)].job);
}

void FakeServer::AddEvent(const std::string& id, v1::JobEvent event) {
  absl::MutexLock lock(&mutex_);
  Job& job = jobs_[NameOf(id)];
  event.set_job(NameOf(id));
  event.set_sequence(static_cast<int64_t>(job.events.size()) + 1);
  SetTime(event);
  job.job.set_last_event_sequence(event.sequence());
  if (event.has_step()) {
    job.job.mutable_progress()->set_step(event.step().step());
    job.job.mutable_progress()->set_loss(event.step().loss());
    job.job.mutable_progress()->set_tokens_per_second(event.step().tokens_per_second());
  }
  job.events.push_back(std::move(event));
}

void FakeServer::AddStep(const std::string& id, int64_t step, double loss) {
  v1::JobEvent event;
  event.set_attempt(1);
  event.mutable_step()->set_step(step);
  event.mutable_step()->set_loss(loss);
  event.mutable_step()->set_tokens_per_second(1000);
  AddEvent(id, event);
}

void FakeServer::AddState(const std::string& id, v1::FineTuneJob::State state) {
  v1::JobEvent event;
  event.mutable_state_changed()->set_state(state);
  {
    absl::MutexLock lock(&mutex_);
    Job& job = jobs_[NameOf(id)];
    event.mutable_state_changed()->set_previous(job.job.state());
    // The event first: a final state promises that no event follows.
    event.set_job(NameOf(id));
    event.set_sequence(static_cast<int64_t>(job.events.size()) + 1);
    SetTime(event);
    job.job.set_last_event_sequence(event.sequence());
    job.events.push_back(event);
    job.job.set_state(state);
  }
}

void FakeServer::AddArtifact(const std::string& id, const std::string& path,
                             const std::string& content) {
  absl::MutexLock lock(&mutex_);
  Job& job = jobs_[NameOf(id)];
  v1::Artifact artifact;
  artifact.set_path(path);
  artifact.set_size_bytes(static_cast<int64_t>(content.size()));
  artifact.set_sha256(common::Sha256Hex(content));
  job.results.push_back(artifact);
  job.contents[path] = content;
}

void FakeServer::AddCheckpoint(const std::string& id, int64_t step, const std::string& content) {
  absl::MutexLock lock(&mutex_);
  Job& job = jobs_[NameOf(id)];
  v1::Checkpoint checkpoint;
  checkpoint.set_name(absl::StrCat(NameOf(id), "/checkpoints/", step));
  checkpoint.set_step(step);
  checkpoint.set_attempt(1);
  checkpoint.set_size_bytes(static_cast<int64_t>(content.size()));
  v1::Artifact* artifact = checkpoint.add_artifacts();
  artifact->set_path(absl::StrCat("checkpoints/step-", step, "/state.bin"));
  artifact->set_size_bytes(static_cast<int64_t>(content.size()));
  artifact->set_sha256(common::Sha256Hex(content));
  job.contents[artifact->path()] = content;
  job.checkpoints.push_back(checkpoint);
}

void FakeServer::AddWorker(const v1::Worker& worker) {
  absl::MutexLock lock(&mutex_);
  *workers_.add_workers() = worker;
}

void FakeServer::EditWorker(const std::string& name, const std::function<void(v1::Worker&)>& edit) {
  absl::MutexLock lock(&mutex_);
  for (v1::Worker& worker : *workers_.mutable_workers()) {
    if (worker.name() == name) edit(worker);
  }
}

std::map<std::string, std::string> FakeServer::files() {
  absl::MutexLock lock(&mutex_);
  return upload_contents_;
}

void FakeServer::SetEstimate(const v1::EstimateFineTuneJobResponse& estimate) {
  absl::MutexLock lock(&mutex_);
  estimate_ = estimate;
}

v1::EstimateFineTuneJobRequest FakeServer::estimated() {
  absl::MutexLock lock(&mutex_);
  return estimated_;
}

v1::CreateFineTuneJobRequest FakeServer::created() {
  absl::MutexLock lock(&mutex_);
  return created_;
}

void FakeServer::FailNext(const std::string& method, const grpc::Status& status) {
  absl::MutexLock lock(&mutex_);
  faults_[method].push_back(status);
}

void FakeServer::BreakStreamsAfter(std::vector<int> counts) {
  absl::MutexLock lock(&mutex_);
  breaks_.assign(counts.begin(), counts.end());
}

void FakeServer::CorruptNextDownload() {
  absl::MutexLock lock(&mutex_);
  corrupt_ = true;
}

void FakeServer::ScriptNextJob(std::function<void(FakeServer&, const std::string& id)> script) {
  absl::MutexLock lock(&mutex_);
  script_ = std::move(script);
}

int FakeServer::calls(const std::string& method) {
  absl::MutexLock lock(&mutex_);
  return calls_[method];
}

std::vector<int64_t> FakeServer::download_offsets() {
  absl::MutexLock lock(&mutex_);
  return download_offsets_;
}

std::vector<std::string> FakeServer::request_ids() {
  absl::MutexLock lock(&mutex_);
  return request_ids_;
}

grpc::Status FakeServer::Enter(const std::string& method) {
  absl::MutexLock lock(&mutex_);
  ++calls_[method];
  std::deque<grpc::Status>& faults = faults_[method];
  if (faults.empty()) return grpc::Status::OK;
  const grpc::Status status = faults.front();
  faults.pop_front();
  return status;
}

FakeServer::Job* FakeServer::Find(const std::string& name) {
  const auto it = jobs_.find(name);
  return it == jobs_.end() ? nullptr : &it->second;
}

int FakeServer::TakeBreak() {
  absl::MutexLock lock(&mutex_);
  if (breaks_.empty()) return -1;
  const int count = breaks_.front();
  breaks_.pop_front();
  return count;
}

grpc::Status FakeServer::CreateFineTuneJob(Context*, const v1::CreateFineTuneJobRequest* request,
                                           v1::FineTuneJob* response) {
  std::function<void(FakeServer&, const std::string&)> script;
  std::string id;
  {
    absl::MutexLock lock(&mutex_);
    request_ids_.push_back(request->request_id());
  }
  if (grpc::Status fault = Enter("CreateFineTuneJob"); !fault.ok()) return fault;
  {
    absl::MutexLock lock(&mutex_);
    created_ = *request;
    script = std::exchange(script_, nullptr);
    id = absl::StrCat("made-", ++made_);
    *response->mutable_spec() = request->spec();
    response->set_state(v1::FineTuneJob::QUEUED);
    if (request->validate_only()) return grpc::Status::OK;
    response->set_name(NameOf(id));
    jobs_[NameOf(id)].job = *response;
  }
  if (script) script(*this, id);
  return grpc::Status::OK;
}

grpc::Status FakeServer::EstimateFineTuneJob(Context*,
                                             const v1::EstimateFineTuneJobRequest* request,
                                             v1::EstimateFineTuneJobResponse* response) {
  if (grpc::Status fault = Enter("EstimateFineTuneJob"); !fault.ok()) return fault;
  absl::MutexLock lock(&mutex_);
  estimated_ = *request;
  *response = estimate_;
  return grpc::Status::OK;
}

grpc::Status FakeServer::GetFineTuneJob(Context*, const v1::GetFineTuneJobRequest* request,
                                        v1::FineTuneJob* response) {
  if (grpc::Status fault = Enter("GetFineTuneJob"); !fault.ok()) return fault;
  absl::MutexLock lock(&mutex_);
  const Job* job = Find(request->name());
  if (job == nullptr) return NoJob(request->name());
  *response = job->job;
  return grpc::Status::OK;
}

grpc::Status FakeServer::ListFineTuneJobs(Context*, const v1::ListFineTuneJobsRequest* request,
                                          v1::ListFineTuneJobsResponse* response) {
  if (grpc::Status fault = Enter("ListFineTuneJobs"); !fault.ok()) return fault;
  absl::MutexLock lock(&mutex_);
  // Pages of two at most, so that few jobs make several.
  const int size = std::min(request->page_size(), 2);
  int skip = 0;
  if (!absl::SimpleAtoi(request->page_token(), &skip)) skip = 0;
  int index = 0;
  for (const auto& [name, job] : jobs_) {
    const auto& states = request->states();
    if (!states.empty() && std::find(states.begin(), states.end(), job.job.state()) == states.end())
      continue;
    if (index++ < skip) continue;
    if (response->jobs_size() == size) {
      response->set_next_page_token(absl::StrCat(skip + size));
      break;
    }
    *response->add_jobs() = job.job;
  }
  return grpc::Status::OK;
}

grpc::Status FakeServer::SetScheduling(const std::string& name, v1::Worker::Scheduling scheduling,
                                       v1::Worker* response) {
  if (grpc::Status fault = Enter("SetScheduling"); !fault.ok()) return fault;
  bool found = false;
  EditWorker(name, [&](v1::Worker& worker) {
    found = true;
    worker.set_scheduling(scheduling);
    *response = worker;
  });
  return found ? grpc::Status::OK
               : Error(absl::StatusCode::kNotFound, "WORKER_NOT_FOUND", "there is no such worker");
}

grpc::Status FakeServer::CordonWorker(Context*, const v1::CordonWorkerRequest* request,
                                      v1::Worker* response) {
  return SetScheduling(request->name(), v1::Worker::CORDONED, response);
}

grpc::Status FakeServer::DrainWorker(Context*, const v1::DrainWorkerRequest* request,
                                     v1::Worker* response) {
  return SetScheduling(request->name(), v1::Worker::DRAINING, response);
}

grpc::Status FakeServer::UncordonWorker(Context*, const v1::UncordonWorkerRequest* request,
                                        v1::Worker* response) {
  return SetScheduling(request->name(), v1::Worker::OPEN, response);
}

grpc::Status FakeServer::PauseFineTuneJob(Context*, const v1::PauseFineTuneJobRequest* request,
                                          v1::FineTuneJob* response) {
  if (grpc::Status fault = Enter("PauseFineTuneJob"); !fault.ok()) return fault;
  const std::string id = request->name().substr(request->name().find('/') + 1);
  // The server that is imitated has a worker that takes the test's time to get there.
  AddState(id, v1::FineTuneJob::PAUSING);
  absl::MutexLock lock(&mutex_);
  *response = Find(request->name())->job;
  return grpc::Status::OK;
}

grpc::Status FakeServer::ResumeFineTuneJob(Context*, const v1::ResumeFineTuneJobRequest* request,
                                           v1::FineTuneJob* response) {
  if (grpc::Status fault = Enter("ResumeFineTuneJob"); !fault.ok()) return fault;
  const std::string id = request->name().substr(request->name().find('/') + 1);
  AddState(id, v1::FineTuneJob::QUEUED);
  absl::MutexLock lock(&mutex_);
  *response = Find(request->name())->job;
  return grpc::Status::OK;
}

grpc::Status FakeServer::CancelFineTuneJob(Context*, const v1::CancelFineTuneJobRequest* request,
                                           v1::FineTuneJob* response) {
  // A fault here is an answer that got lost: the job is cancelled all the same.
  const grpc::Status fault = Enter("CancelFineTuneJob");
  {
    absl::MutexLock lock(&mutex_);
    const Job* job = Find(request->name());
    if (job == nullptr) return NoJob(request->name());
    if (Final(job->job.state())) {
      return Error(absl::StatusCode::kFailedPrecondition, "JOB_FINAL", "the job has ended");
    }
  }
  const std::string id = request->name().substr(request->name().find('/') + 1);
  AddState(id, v1::FineTuneJob::CANCELLED);
  if (!fault.ok()) return fault;
  absl::MutexLock lock(&mutex_);
  *response = Find(request->name())->job;
  return grpc::Status::OK;
}

grpc::Status FakeServer::DeleteFineTuneJob(Context*, const v1::DeleteFineTuneJobRequest* request,
                                           google::protobuf::Empty*) {
  const grpc::Status fault = Enter("DeleteFineTuneJob");
  absl::MutexLock lock(&mutex_);
  if (Find(request->name()) == nullptr) return NoJob(request->name());
  if (!Final(Find(request->name())->job.state())) {
    return Error(absl::StatusCode::kFailedPrecondition, "JOB_NOT_FINAL", "cancel it first");
  }
  jobs_.erase(request->name());
  return fault;
}

grpc::Status FakeServer::WatchFineTuneJob(
    Context* context, const v1::WatchFineTuneJobRequest* request,
    grpc::ServerWriter<v1::WatchFineTuneJobResponse>* writer) {
  if (grpc::Status fault = Enter("WatchFineTuneJob"); !fault.ok()) return fault;
  const int limit = TakeBreak();
  size_t next = static_cast<size_t>(request->after_sequence());
  v1::WatchFineTuneJobResponse response;
  {
    absl::MutexLock lock(&mutex_);
    const Job* job = Find(request->name());
    if (job == nullptr) return NoJob(request->name());
    *response.mutable_job() = job->job;
  }
  writer->Write(response);
  for (int sent = 0; sent != limit; ++sent) {
    {
      absl::MutexLock lock(&mutex_);
      const auto ready = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
        const Job* job = Find(request->name());
        return stopping_ || context->IsCancelled() || job == nullptr || next < job->events.size() ||
               Final(job->job.state());
      };
      // IsCancelled wakes nobody, hence the timeout; it decides nothing.
      while (!mutex_.AwaitWithTimeout(absl::Condition(&ready), absl::Milliseconds(20))) {
      }
      const Job* job = Find(request->name());
      if (stopping_ || context->IsCancelled())
        return grpc::Status(grpc::StatusCode::UNAVAILABLE, "stopping");
      if (job == nullptr) return NoJob(request->name());
      if (next >= job->events.size()) return grpc::Status::OK;
      *response.mutable_event() = job->events[next++];
    }
    if (!writer->Write(response)) return grpc::Status(grpc::StatusCode::UNAVAILABLE, "gone");
  }
  return grpc::Status(grpc::StatusCode::UNAVAILABLE, "broken on purpose");
}

grpc::Status FakeServer::ListJobEvents(Context*, const v1::ListJobEventsRequest* request,
                                       v1::ListJobEventsResponse* response) {
  if (grpc::Status fault = Enter("ListJobEvents"); !fault.ok()) return fault;
  absl::MutexLock lock(&mutex_);
  const Job* job = Find(request->parent());
  if (job == nullptr) return NoJob(request->parent());
  size_t next = 0;
  if (!absl::SimpleAtoi(request->page_token(), &next)) next = 0;
  const size_t end = std::min(job->events.size(), next + 2);
  for (; next < end; ++next) *response->add_events() = job->events[next];
  if (end < job->events.size()) response->set_next_page_token(absl::StrCat(end));
  return grpc::Status::OK;
}

grpc::Status FakeServer::ListCheckpoints(Context*, const v1::ListCheckpointsRequest* request,
                                         v1::ListCheckpointsResponse* response) {
  if (grpc::Status fault = Enter("ListCheckpoints"); !fault.ok()) return fault;
  absl::MutexLock lock(&mutex_);
  const Job* job = Find(request->parent());
  if (job == nullptr) return NoJob(request->parent());
  response->mutable_checkpoints()->Add(job->checkpoints.begin(), job->checkpoints.end());
  return grpc::Status::OK;
}

grpc::Status FakeServer::ListArtifacts(Context*, const v1::ListArtifactsRequest* request,
                                       v1::ListArtifactsResponse* response) {
  if (grpc::Status fault = Enter("ListArtifacts"); !fault.ok()) return fault;
  absl::MutexLock lock(&mutex_);
  const Job* job = Find(request->parent());
  if (job == nullptr) return NoJob(request->parent());
  response->mutable_artifacts()->Add(job->results.begin(), job->results.end());
  return grpc::Status::OK;
}

grpc::Status FakeServer::DownloadArtifact(
    Context*, const v1::DownloadArtifactRequest* request,
    grpc::ServerWriter<v1::DownloadArtifactResponse>* writer) {
  if (grpc::Status fault = Enter("DownloadArtifact"); !fault.ok()) return fault;
  const int limit = TakeBreak();
  std::string content;
  {
    absl::MutexLock lock(&mutex_);
    download_offsets_.push_back(request->offset());
    const Job* job = Find(request->parent());
    if (job == nullptr) return NoJob(request->parent());
    const auto it = job->contents.find(request->path());
    if (it == job->contents.end()) {
      return Error(absl::StatusCode::kNotFound, "ARTIFACT_NOT_FOUND", "no such artifact");
    }
    content = it->second;
    if (std::exchange(corrupt_, false)) content[content.size() / 2] ^= 1;
  }
  v1::DownloadArtifactResponse response;
  size_t offset = static_cast<size_t>(request->offset());
  for (int sent = 0; offset < content.size(); ++sent) {
    if (sent == limit) return grpc::Status(grpc::StatusCode::UNAVAILABLE, "broken on purpose");
    response.set_data(content.substr(offset, kDownloadChunk));
    offset += response.data().size();
    writer->Write(response);
  }
  return grpc::Status::OK;
}

grpc::Status FakeServer::GetFile(Context*, const v1::GetFileRequest* request, v1::File* response) {
  if (grpc::Status fault = Enter("GetFile"); !fault.ok()) return fault;
  absl::MutexLock lock(&mutex_);
  const auto it = uploads_.find(request->name());
  if (it == uploads_.end()) {
    return Error(absl::StatusCode::kNotFound, "FILE_NOT_FOUND", "no such file");
  }
  *response = it->second;
  return grpc::Status::OK;
}

grpc::Status FakeServer::UploadFile(Context*, grpc::ServerReader<v1::UploadFileRequest>* reader,
                                    v1::File* response) {
  if (grpc::Status fault = Enter("UploadFile"); !fault.ok()) return fault;
  const int limit = TakeBreak();
  v1::UploadFileRequest request;
  if (!reader->Read(&request) || !request.has_header()) {
    return Error(absl::StatusCode::kInvalidArgument, "NAME_INVALID", "no header");
  }
  const v1::UploadFileHeader header = request.header();
  absl::MutexLock lock(&mutex_);
  v1::File& file = uploads_[header.name()];
  std::string& content = upload_contents_[header.name()];
  file.set_name(header.name());
  file.set_size_bytes(header.size_bytes());
  if (header.offset() != static_cast<int64_t>(content.size())) {
    return Error(absl::StatusCode::kOutOfRange, "OFFSET_INVALID", "not where it stopped");
  }
  int received = 0;
  while (true) {
    if (received++ == limit)
      return grpc::Status(grpc::StatusCode::UNAVAILABLE, "broken on purpose");
    if (!reader->Read(&request)) break;
    content += request.data();
    file.set_received_bytes(static_cast<int64_t>(content.size()));
  }
  if (absl::StrCat("files/", common::Sha256Hex(content)) != header.name()) {
    uploads_.erase(header.name());
    upload_contents_.erase(header.name());
    return Error(absl::StatusCode::kInvalidArgument, "DIGEST_MISMATCH", "other content");
  }
  file.set_complete(true);
  *response = file;
  return grpc::Status::OK;
}

grpc::Status FakeServer::ListWorkers(Context*, const v1::ListWorkersRequest*,
                                     v1::ListWorkersResponse* response) {
  if (grpc::Status fault = Enter("ListWorkers"); !fault.ok()) return fault;
  absl::MutexLock lock(&mutex_);
  *response = workers_;
  return grpc::Status::OK;
}

}  // namespace longlora::client
