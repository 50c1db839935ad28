// longlora.v1.QueueService over the scheduler. Stateless; thread-safe.
#ifndef LONGLORA_SERVER_API_QUEUE_SERVICE_H_
#define LONGLORA_SERVER_API_QUEUE_SERVICE_H_

#include "absl/status/statusor.h"
#include "longlora/v1/queue_service.grpc.pb.h"
#include "server/api/unary_calls.h"
#include "server/scheduler/scheduler.h"

namespace longlora::server {

class QueueServiceHandler final : public v1::QueueService::CallbackService {
 public:
  QueueServiceHandler(Scheduler* scheduler, UnaryCalls* calls)
      : scheduler_(scheduler), calls_(calls) {}

  grpc::ServerUnaryReactor* ListQueues(grpc::CallbackServerContext* context,
                                       const v1::ListQueuesRequest* request,
                                       v1::ListQueuesResponse* response) override;
  grpc::ServerUnaryReactor* ListQueuedJobs(grpc::CallbackServerContext* context,
                                           const v1::ListQueuedJobsRequest* request,
                                           v1::ListQueuedJobsResponse* response) override;

 private:
  absl::StatusOr<v1::ListQueuedJobsResponse> ListJobs(const v1::ListQueuedJobsRequest& request);

  Scheduler* const scheduler_;
  UnaryCalls* const calls_;
};

}  // namespace longlora::server

#endif  // LONGLORA_SERVER_API_QUEUE_SERVICE_H_
