// longlora.v1.WorkerDirectoryService over the scheduler's registry or, where an address only reads,
// over the store. Stateless; thread-safe.
#ifndef LONGLORA_SERVER_API_WORKER_DIRECTORY_SERVICE_H_
#define LONGLORA_SERVER_API_WORKER_DIRECTORY_SERVICE_H_

#include "longlora/v1/worker_directory_service.grpc.pb.h"
#include "server/api/unary_calls.h"
#include "server/scheduler/job_reader.h"
#include "server/scheduler/scheduler.h"

namespace longlora::server {

class WorkerDirectoryHandler final : public v1::WorkerDirectoryService::CallbackService {
 public:
  // No `scheduler`: the address only reads.
  WorkerDirectoryHandler(JobReader* reader, Scheduler* scheduler, UnaryCalls* calls)
      : reader_(reader), scheduler_(scheduler), calls_(calls) {}

  grpc::ServerUnaryReactor* ListWorkers(grpc::CallbackServerContext* context,
                                        const v1::ListWorkersRequest* request,
                                        v1::ListWorkersResponse* response) override;
  grpc::ServerUnaryReactor* CordonWorker(grpc::CallbackServerContext* context,
                                         const v1::CordonWorkerRequest* request,
                                         v1::Worker* response) override;
  grpc::ServerUnaryReactor* DrainWorker(grpc::CallbackServerContext* context,
                                        const v1::DrainWorkerRequest* request,
                                        v1::Worker* response) override;
  grpc::ServerUnaryReactor* UncordonWorker(grpc::CallbackServerContext* context,
                                           const v1::UncordonWorkerRequest* request,
                                           v1::Worker* response) override;

 private:
  template <typename Request>
  grpc::ServerUnaryReactor* SetScheduling(v1::Worker::Scheduling scheduling,
                                          grpc::CallbackServerContext* context,
                                          const Request* request, v1::Worker* response);

  JobReader* const reader_;
  Scheduler* const scheduler_;
  UnaryCalls* const calls_;
};

}  // namespace longlora::server

#endif  // LONGLORA_SERVER_API_WORKER_DIRECTORY_SERVICE_H_
