#include "server/api/queue_service.h"

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status/status_macros.h"
#include "server/api/page_token.h"
#include "server/events/job_errors.h"
#include "server/store/resource_names.h"

namespace longlora::server {
namespace {

// The id of "queues/{id}"; empty for an empty name, which means all.
absl::StatusOr<std::string> QueueIdOf(const std::string& name) {
  if (name.empty()) return std::string();
  return WithNameReason(ParseQueueName(name), name, "queue");
}

}  // namespace

grpc::ServerUnaryReactor* QueueServiceHandler::ListQueues(grpc::CallbackServerContext* context,
                                                          const v1::ListQueuesRequest* request,
                                                          v1::ListQueuesResponse* response) {
  return calls_->Start(context, request, response, [this] {
    v1::ListQueuesResponse list;
    for (v1::Queue& queue : scheduler_->ListQueues()) *list.add_queues() = std::move(queue);
    return list;
  });
}

absl::StatusOr<v1::ListQueuedJobsResponse> QueueServiceHandler::ListJobs(
    const v1::ListQueuedJobsRequest& request) {
  LONGLORA_ASSIGN_OR_RETURN(const std::string queue, QueueIdOf(request.queue()));
  const std::string arguments = absl::StrCat("queued jobs ", queue);
  LONGLORA_ASSIGN_OR_RETURN(const int32_t limit, PageSize(request.page_size()));
  LONGLORA_ASSIGN_OR_RETURN(const int64_t offset, ParsePageToken(arguments, request.page_token()));
  LONGLORA_ASSIGN_OR_RETURN(QueuedJobPage page,
                            scheduler_->ListQueuedJobs(queue, static_cast<int32_t>(offset), limit));
  v1::ListQueuedJobsResponse response;
  for (v1::QueuedJob& job : page.jobs) *response.add_jobs() = std::move(job);
  if (page.next_offset > 0) {
    response.set_next_page_token(MakePageToken(arguments, page.next_offset));
  }
  return response;
}

grpc::ServerUnaryReactor* QueueServiceHandler::ListQueuedJobs(
    grpc::CallbackServerContext* context, const v1::ListQueuedJobsRequest* request,
    v1::ListQueuedJobsResponse* response) {
  return calls_->Start(context, request, response, [this, request] { return ListJobs(*request); });
}

}  // namespace longlora::server
