// longlora.v1.WorkerDirectoryService over the scheduler's registry. Stateless; thread-safe.
#ifndef LONGLORA_SERVER_API_WORKER_DIRECTORY_SERVICE_H_
#define LONGLORA_SERVER_API_WORKER_DIRECTORY_SERVICE_H_

#include "longlora/v1/worker_directory_service.grpc.pb.h"
#include "server/scheduler/scheduler.h"

namespace longlora::server {

class WorkerDirectoryHandler final : public v1::WorkerDirectoryService::Service {
 public:
  explicit WorkerDirectoryHandler(Scheduler* scheduler) : scheduler_(scheduler) {}

  grpc::Status ListWorkers(grpc::ServerContext* context, const v1::ListWorkersRequest* request,
                           v1::ListWorkersResponse* response) override;
  grpc::Status CordonWorker(grpc::ServerContext* context, const v1::CordonWorkerRequest* request,
                            v1::Worker* response) override;
  grpc::Status DrainWorker(grpc::ServerContext* context, const v1::DrainWorkerRequest* request,
                           v1::Worker* response) override;
  grpc::Status UncordonWorker(grpc::ServerContext* context,
                              const v1::UncordonWorkerRequest* request,
                              v1::Worker* response) override;

 private:
  Scheduler* const scheduler_;
};

}  // namespace longlora::server

#endif  // LONGLORA_SERVER_API_WORKER_DIRECTORY_SERVICE_H_
