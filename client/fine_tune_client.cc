#include "client/fine_tune_client.h"

#include <algorithm>
#include <utility>

#include "common/status/annotate.h"
#include "common/status/status_macros.h"
#include "rpc/channel.h"
#include "rpc/grpc_status.h"

namespace longlora::client {
namespace {

constexpr int32_t kPageSize = 1000;  // the largest the server gives
constexpr absl::Duration kReconnectPause = absl::Milliseconds(250);

}  // namespace

absl::StatusOr<std::unique_ptr<FineTuneClient>> FineTuneClient::Create(ClientOptions options) {
  LONGLORA_ASSIGN_OR_RETURN(std::shared_ptr<grpc::Channel> channel,
                            rpc::MakeChannel(options.server, options.security));
  return std::make_unique<FineTuneClient>(std::move(channel), std::move(options));
}

FineTuneClient::FineTuneClient(std::shared_ptr<grpc::Channel> channel, ClientOptions options)
    : options_(std::move(options)),
      channel_(std::move(channel)),
      jobs_(v1::FineTuneService::NewStub(channel_)),
      files_(v1::FileService::NewStub(channel_)),
      queues_(v1::QueueService::NewStub(channel_)),
      workers_(v1::WorkerDirectoryService::NewStub(channel_)) {}

void FineTuneClient::Reconnect() {
  grpc::experimental::ChannelResetConnectionBackoff(channel_.get());
  // While the new connection is being made, calls still fail with the error of the old one.
  channel_->WaitForConnected(absl::ToChronoTime(absl::Now() + kReconnectPause));
}

absl::Status FineTuneClient::ToStatus(const grpc::Status& status) const {
  absl::Status result = rpc::FromGrpcStatus(status);
  if (absl::IsUnavailable(result)) {
    return common::Annotate(result, absl::StrCat("cannot reach the server at ", options_.server));
  }
  if (absl::IsDeadlineExceeded(result)) {
    return common::Annotate(
        result, absl::StrCat("the server at ", options_.server, " did not answer in time"));
  }
  return result;
}

template <typename Request, typename Response, typename Stub>
absl::StatusOr<Response> FineTuneClient::Call(
    Stub& stub, grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*),
    const Request& request, int* tries) {
  Response response;
  int made = 0;
  const absl::Status status = Retry(options_.retry, options_.cancellation, [&] {
    if (made++ > 0) Reconnect();
    grpc::ClientContext context;
    context.set_deadline(absl::ToChronoTime(absl::Now() + options_.call_deadline));
    CancellableCall call(options_.cancellation, &context);
    response.Clear();
    return ToStatus((stub.*method)(&context, request, &response));
  });
  if (tries != nullptr) *tries = made;
  LONGLORA_RETURN_IF_ERROR(status);
  return response;
}

absl::StatusOr<v1::FineTuneJob> FineTuneClient::CreateJob(
    const v1::CreateFineTuneJobRequest& request) {
  return Call(*jobs_, &v1::FineTuneService::Stub::CreateFineTuneJob, request);
}

absl::StatusOr<v1::EstimateFineTuneJobResponse> FineTuneClient::EstimateJob(
    const v1::EstimateFineTuneJobRequest& request) {
  return Call(*jobs_, &v1::FineTuneService::Stub::EstimateFineTuneJob, request);
}

absl::StatusOr<v1::FineTuneJob> FineTuneClient::GetJob(const std::string& name) {
  v1::GetFineTuneJobRequest request;
  request.set_name(name);
  return Call(*jobs_, &v1::FineTuneService::Stub::GetFineTuneJob, request);
}

absl::StatusOr<std::vector<v1::FineTuneJob>> FineTuneClient::ListJobs(
    const std::vector<v1::FineTuneJob::State>& states, int64_t limit) {
  std::vector<v1::FineTuneJob> jobs;
  v1::ListFineTuneJobsRequest request;
  for (const v1::FineTuneJob::State state : states) request.add_states(state);
  while (true) {
    const int64_t wanted = limit > 0 ? limit - static_cast<int64_t>(jobs.size()) : kPageSize;
    request.set_page_size(static_cast<int32_t>(std::min<int64_t>(wanted, kPageSize)));
    LONGLORA_ASSIGN_OR_RETURN(v1::ListFineTuneJobsResponse page,
                              Call(*jobs_, &v1::FineTuneService::Stub::ListFineTuneJobs, request));
    for (v1::FineTuneJob& job : *page.mutable_jobs()) {
      jobs.push_back(std::move(job));
      if (limit > 0 && static_cast<int64_t>(jobs.size()) == limit) return jobs;
    }
    if (page.next_page_token().empty()) return jobs;
    if (page.next_page_token() == request.page_token()) {
      return absl::InternalError("the server gave the same page of jobs twice");
    }
    request.set_page_token(page.next_page_token());
  }
}

absl::StatusOr<v1::FineTuneJob> FineTuneClient::PauseJob(const std::string& name) {
  v1::PauseFineTuneJobRequest request;
  request.set_name(name);
  return Call(*jobs_, &v1::FineTuneService::Stub::PauseFineTuneJob, request);
}

absl::StatusOr<v1::FineTuneJob> FineTuneClient::ResumeJob(const std::string& name) {
  v1::ResumeFineTuneJobRequest request;
  request.set_name(name);
  return Call(*jobs_, &v1::FineTuneService::Stub::ResumeFineTuneJob, request);
}

absl::StatusOr<v1::FineTuneJob> FineTuneClient::CancelJob(const std::string& name) {
  v1::CancelFineTuneJobRequest request;
  request.set_name(name);
  int tries = 0;
  absl::StatusOr<v1::FineTuneJob> job =
      Call(*jobs_, &v1::FineTuneService::Stub::CancelFineTuneJob, request, &tries);
  // The answer of an earlier try may have been lost after it had cancelled the job.
  if (tries > 1 && absl::IsFailedPrecondition(job.status())) {
    absl::StatusOr<v1::FineTuneJob> now = GetJob(name);
    if (now.ok() && now->state() == v1::FineTuneJob::CANCELLED) return now;
  }
  return job;
}

absl::Status FineTuneClient::DeleteJob(const std::string& name, bool force) {
  v1::DeleteFineTuneJobRequest request;
  request.set_name(name);
  request.set_force(force);
  int tries = 0;
  const absl::Status status =
      Call(*jobs_, &v1::FineTuneService::Stub::DeleteFineTuneJob, request, &tries).status();
  // As above: an earlier try had already deleted it.
  if (tries > 1 && absl::IsNotFound(status)) return absl::OkStatus();
  return status;
}

absl::Status FineTuneClient::ListEvents(const std::string& name,
                                        const std::function<void(const v1::JobEvent&)>& on_event) {
  v1::ListJobEventsRequest request;
  request.set_parent(name);
  request.set_page_size(kPageSize);
  while (true) {
    LONGLORA_ASSIGN_OR_RETURN(v1::ListJobEventsResponse page,
                              Call(*jobs_, &v1::FineTuneService::Stub::ListJobEvents, request));
    for (const v1::JobEvent& event : page.events()) on_event(event);
    if (page.next_page_token().empty()) return absl::OkStatus();
    if (page.next_page_token() == request.page_token()) {
      return absl::InternalError("the server gave the same page of events twice");
    }
    request.set_page_token(page.next_page_token());
  }
}

absl::StatusOr<v1::ListCheckpointsResponse> FineTuneClient::ListCheckpoints(
    const std::string& name) {
  v1::ListCheckpointsRequest request;
  request.set_parent(name);
  return Call(*jobs_, &v1::FineTuneService::Stub::ListCheckpoints, request);
}

absl::StatusOr<v1::ListArtifactsResponse> FineTuneClient::ListArtifacts(const std::string& name) {
  v1::ListArtifactsRequest request;
  request.set_parent(name);
  return Call(*jobs_, &v1::FineTuneService::Stub::ListArtifacts, request);
}

absl::StatusOr<v1::ListQueuesResponse> FineTuneClient::ListQueues() {
  return Call(*queues_, &v1::QueueService::Stub::ListQueues, v1::ListQueuesRequest());
}

absl::StatusOr<v1::ListQueuedJobsResponse> FineTuneClient::ListQueuedJobs(const std::string& queue,
                                                                          int64_t limit) {
  v1::ListQueuedJobsResponse all;
  v1::ListQueuedJobsRequest request;
  request.set_queue(queue);
  while (true) {
    request.set_page_size(
        static_cast<int32_t>(std::min<int64_t>(limit - all.jobs_size(), kPageSize)));
    LONGLORA_ASSIGN_OR_RETURN(v1::ListQueuedJobsResponse page,
                              Call(*queues_, &v1::QueueService::Stub::ListQueuedJobs, request));
    for (v1::QueuedJob& job : *page.mutable_jobs()) *all.add_jobs() = std::move(job);
    all.set_next_page_token(page.next_page_token());
    if (page.next_page_token().empty() || page.jobs_size() == 0 || all.jobs_size() >= limit) {
      return all;
    }
    request.set_page_token(page.next_page_token());
  }
}

absl::StatusOr<v1::ListWorkersResponse> FineTuneClient::ListWorkers() {
  return Call(*workers_, &v1::WorkerDirectoryService::Stub::ListWorkers, v1::ListWorkersRequest());
}

absl::StatusOr<v1::Worker> FineTuneClient::SetScheduling(const std::string& worker,
                                                         v1::Worker::Scheduling scheduling) {
  using Stub = v1::WorkerDirectoryService::Stub;
  const auto call = [&](auto request, auto method) {
    request.set_name(worker);
    return Call(*workers_, method, request);
  };
  switch (scheduling) {
    case v1::Worker::OPEN:
      return call(v1::UncordonWorkerRequest(), &Stub::UncordonWorker);
    case v1::Worker::CORDONED:
      return call(v1::CordonWorkerRequest(), &Stub::CordonWorker);
    case v1::Worker::DRAINING:
      return call(v1::DrainWorkerRequest(), &Stub::DrainWorker);
    default:
      return absl::InvalidArgumentError("no such scheduling of workers");
  }
}

absl::StatusOr<v1::File> FineTuneClient::GetFile(const std::string& name) {
  v1::GetFileRequest request;
  request.set_name(name);
  return Call(*files_, &v1::FileService::Stub::GetFile, request);
}

}  // namespace longlora::client
