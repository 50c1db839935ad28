#include "server/api/worker_directory_service.h"

#include <utility>

namespace longlora::server {

grpc::Status WorkerDirectoryHandler::ListWorkers(grpc::ServerContext*,
                                                 const v1::ListWorkersRequest*,
                                                 v1::ListWorkersResponse* response) {
  for (v1::Worker& worker : scheduler_->ListWorkers()) {
    *response->add_workers() = std::move(worker);
  }
  return grpc::Status::OK;
}

}  // namespace longlora::server
