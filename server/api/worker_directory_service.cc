#include "server/api/worker_directory_service.h"

#include <utility>

#include "server/api/edge_status.h"

namespace longlora::server {

grpc::Status WorkerDirectoryHandler::ListWorkers(grpc::ServerContext*,
                                                 const v1::ListWorkersRequest*,
                                                 v1::ListWorkersResponse* response) {
  for (v1::Worker& worker : scheduler_->ListWorkers()) {
    *response->add_workers() = std::move(worker);
  }
  return grpc::Status::OK;
}

grpc::Status WorkerDirectoryHandler::CordonWorker(grpc::ServerContext*,
                                                  const v1::CordonWorkerRequest* request,
                                                  v1::Worker* response) {
  return ToReply(scheduler_->SetScheduling(request->name(), v1::Worker::CORDONED), response);
}

grpc::Status WorkerDirectoryHandler::DrainWorker(grpc::ServerContext*,
                                                 const v1::DrainWorkerRequest* request,
                                                 v1::Worker* response) {
  return ToReply(scheduler_->SetScheduling(request->name(), v1::Worker::DRAINING), response);
}

grpc::Status WorkerDirectoryHandler::UncordonWorker(grpc::ServerContext*,
                                                    const v1::UncordonWorkerRequest* request,
                                                    v1::Worker* response) {
  return ToReply(scheduler_->SetScheduling(request->name(), v1::Worker::OPEN), response);
}

}  // namespace longlora::server
