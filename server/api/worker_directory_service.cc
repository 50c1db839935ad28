#include "server/api/worker_directory_service.h"

#include <utility>

namespace longlora::server {

grpc::ServerUnaryReactor* WorkerDirectoryHandler::ListWorkers(grpc::CallbackServerContext* context,
                                                              const v1::ListWorkersRequest* request,
                                                              v1::ListWorkersResponse* response) {
  return calls_->Start(context, request, response, [this] {
    v1::ListWorkersResponse list;
    for (v1::Worker& worker : scheduler_->ListWorkers()) *list.add_workers() = std::move(worker);
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
