#include "server/api/worker_directory_service.h"

#include <utility>
#include <vector>

#include "common/status/status_macros.h"
#include "server/api/read_only.h"

namespace longlora::server {

grpc::ServerUnaryReactor* WorkerDirectoryHandler::ListWorkers(grpc::CallbackServerContext* context,
                                                              const v1::ListWorkersRequest* request,
                                                              v1::ListWorkersResponse* response) {
  return calls_->Start(
      context, request, response, [this]() -> absl::StatusOr<v1::ListWorkersResponse> {
        LONGLORA_ASSIGN_OR_RETURN(std::vector<v1::Worker> workers, reader_->ListWorkers());
        v1::ListWorkersResponse list;
        for (v1::Worker& worker : workers) *list.add_workers() = std::move(worker);
        return list;
      });
}

template <typename Request>
grpc::ServerUnaryReactor* WorkerDirectoryHandler::SetScheduling(
    v1::Worker::Scheduling scheduling, grpc::CallbackServerContext* context, const Request* request,
    v1::Worker* response) {
  return UnlessReadOnly(context, scheduler_, [&] {
    return calls_->Start(context, request, response, [this, scheduling, request] {
      return scheduler_->SetScheduling(request->name(), scheduling);
    });
  });
}

grpc::ServerUnaryReactor* WorkerDirectoryHandler::CordonWorker(
    grpc::CallbackServerContext* context, const v1::CordonWorkerRequest* request,
    v1::Worker* response) {
  return SetScheduling(v1::Worker::CORDONED, context, request, response);
}

grpc::ServerUnaryReactor* WorkerDirectoryHandler::DrainWorker(grpc::CallbackServerContext* context,
                                                              const v1::DrainWorkerRequest* request,
                                                              v1::Worker* response) {
  return SetScheduling(v1::Worker::DRAINING, context, request, response);
}

grpc::ServerUnaryReactor* WorkerDirectoryHandler::UncordonWorker(
    grpc::CallbackServerContext* context, const v1::UncordonWorkerRequest* request,
    v1::Worker* response) {
  return SetScheduling(v1::Worker::OPEN, context, request, response);
}

}  // namespace longlora::server
