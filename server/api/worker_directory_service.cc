#include "server/api/worker_directory_service.h"

#include <utility>
#include <vector>

#include "common/status/status_macros.h"

namespace longlora::server {

grpc::ServerUnaryReactor* WorkerDirectoryHandler::ListWorkers(grpc::CallbackServerContext* context,
                                                              const v1::ListWorkersRequest* request,
                                                              v1::ListWorkersResponse* response) {
  return calls_->Start(
      context, request, response, [this]() -> absl::StatusOr<v1::ListWorkersResponse> {
        LONGLORA_ASSIGN_OR_RETURN(std::vector<v1::Worker> workers, scheduler_->ListWorkers());
        v1::ListWorkersResponse list;
        for (v1::Worker& worker : workers) *list.add_workers() = std::move(worker);
        return list;
      });
}

grpc::ServerUnaryReactor* WorkerDirectoryHandler::CordonWorker(
    grpc::CallbackServerContext* context, const v1::CordonWorkerRequest* request,
    v1::Worker* response) {
  return calls_->Start(context, request, response, [this, request] {
    return scheduler_->SetScheduling(request->name(), v1::Worker::CORDONED);
  });
}

grpc::ServerUnaryReactor* WorkerDirectoryHandler::DrainWorker(grpc::CallbackServerContext* context,
                                                              const v1::DrainWorkerRequest* request,
                                                              v1::Worker* response) {
  return calls_->Start(context, request, response, [this, request] {
    return scheduler_->SetScheduling(request->name(), v1::Worker::DRAINING);
  });
}

grpc::ServerUnaryReactor* WorkerDirectoryHandler::UncordonWorker(
    grpc::CallbackServerContext* context, const v1::UncordonWorkerRequest* request,
    v1::Worker* response) {
  return calls_->Start(context, request, response, [this, request] {
    return scheduler_->SetScheduling(request->name(), v1::Worker::OPEN);
  });
}

}  // namespace longlora::server
