// longlora.worker.v1.WorkerService: the seam's edge. Fencing is the scheduler's; this asks it
// before a file is opened and again before it counts. Stateless; thread-safe.
#ifndef LONGLORA_SERVER_API_WORKER_SERVICE_H_
#define LONGLORA_SERVER_API_WORKER_SERVICE_H_

#include <string>
#include <vector>

#include "longlora/worker/v1/worker_service.grpc.pb.h"
#include "server/api/transfer.h"
#include "server/api/unary_calls.h"
#include "server/artifacts/artifact_store.h"
#include "server/artifacts/file_store.h"
#include "server/scheduler/scheduler.h"

namespace longlora::server {

// Unary methods are served by callbacks, transfers by threads.
using WorkerServiceCallbacks = worker::v1::WorkerService::WithCallbackMethod_Synchronize<
    worker::v1::WorkerService::WithCallbackMethod_ReportEvents<
        worker::v1::WorkerService::WithCallbackMethod_GetArtifactStatus<
            worker::v1::WorkerService::WithCallbackMethod_CommitArtifacts<
                worker::v1::WorkerService::Service>>>>;

class WorkerServiceHandler final : public WorkerServiceCallbacks {
 public:
  struct Dependencies {
    Scheduler* scheduler = nullptr;
    ArtifactStore* artifacts = nullptr;
    FileStore* files = nullptr;
    TransferLimit* transfers = nullptr;
    UnaryCalls* calls = nullptr;
  };
  explicit WorkerServiceHandler(Dependencies dependencies) : to_(dependencies) {}

  // What each unary call comes to, apart from how it is called.
  Answer<worker::v1::SynchronizeResponse> Decide(const worker::v1::SynchronizeRequest& request);
  Answer<worker::v1::ReportEventsResponse> Decide(const worker::v1::ReportEventsRequest& request);
  Answer<worker::v1::GetArtifactStatusResponse> Decide(
      const worker::v1::GetArtifactStatusRequest& request);
  Answer<worker::v1::CommitArtifactsResponse> Decide(
      const worker::v1::CommitArtifactsRequest& request);

  grpc::ServerUnaryReactor* Synchronize(grpc::CallbackServerContext* context,
                                        const worker::v1::SynchronizeRequest* request,
                                        worker::v1::SynchronizeResponse* response) override;
  grpc::ServerUnaryReactor* ReportEvents(grpc::CallbackServerContext* context,
                                         const worker::v1::ReportEventsRequest* request,
                                         worker::v1::ReportEventsResponse* response) override;
  grpc::ServerUnaryReactor* GetArtifactStatus(
      grpc::CallbackServerContext* context, const worker::v1::GetArtifactStatusRequest* request,
      worker::v1::GetArtifactStatusResponse* response) override;
  grpc::Status UploadArtifact(grpc::ServerContext* context,
                              grpc::ServerReader<worker::v1::UploadArtifactRequest>* reader,
                              worker::v1::UploadArtifactResponse* response) override;
  grpc::ServerUnaryReactor* CommitArtifacts(grpc::CallbackServerContext* context,
                                            const worker::v1::CommitArtifactsRequest* request,
                                            worker::v1::CommitArtifactsResponse* response) override;
  grpc::Status FetchFile(grpc::ServerContext* context, const worker::v1::FetchFileRequest* request,
                         grpc::ServerWriter<worker::v1::FetchFileResponse>* writer) override;
  grpc::Status FetchArtifact(
      grpc::ServerContext* context, const worker::v1::FetchArtifactRequest* request,
      grpc::ServerWriter<worker::v1::FetchArtifactResponse>* writer) override;

 private:
  // The key of an artifact whose attempt is the job's present one.
  absl::StatusOr<ArtifactKey> CheckedKey(const worker::v1::ArtifactRef& ref);
  absl::Status Upload(grpc::ServerContext* context,
                      grpc::ServerReader<worker::v1::UploadArtifactRequest>* reader,
                      worker::v1::UploadArtifactResponse* response);
  void RemoveFiles(const std::string& job_id, const std::vector<v1::Checkpoint>& dropped);
  absl::Status SendFile(const worker::v1::FetchFileRequest& request,
                        grpc::ServerWriter<worker::v1::FetchFileResponse>* writer);
  absl::Status SendArtifact(const worker::v1::FetchArtifactRequest& request,
                            grpc::ServerWriter<worker::v1::FetchArtifactResponse>* writer);

  const Dependencies to_;
};

}  // namespace longlora::server

#endif  // LONGLORA_SERVER_API_WORKER_SERVICE_H_
