// longlora.v1.FineTuneService: checks requests, asks the scheduler, pages the answers. Unary calls
// and downloads run on the server's threads; watch streams take none while they wait (see
// watch_stream.h). Stateless; thread-safe.
#ifndef LONGLORA_SERVER_API_FINE_TUNE_SERVICE_H_
#define LONGLORA_SERVER_API_FINE_TUNE_SERVICE_H_

#include "longlora/v1/fine_tune_service.grpc.pb.h"
#include "server/api/dataset_check.h"
#include "server/api/transfer.h"
#include "server/api/watch_stream.h"
#include "server/artifacts/artifact_store.h"
#include "server/events/event_log.h"
#include "server/scheduler/scheduler.h"

namespace longlora::server {

class FineTuneServiceHandler final
    : public v1::FineTuneService::WithCallbackMethod_WatchFineTuneJob<
          v1::FineTuneService::Service> {
 public:
  struct Dependencies {
    Scheduler* scheduler = nullptr;
    EventLog* events = nullptr;
    ArtifactStore* artifacts = nullptr;
    DatasetCheck* datasets = nullptr;
    TransferLimit* transfers = nullptr;
    WatchStreams* watches = nullptr;
  };
  explicit FineTuneServiceHandler(Dependencies dependencies) : to_(dependencies) {}

  grpc::Status CreateFineTuneJob(grpc::ServerContext* context,
                                 const v1::CreateFineTuneJobRequest* request,
                                 v1::FineTuneJob* response) override;
  grpc::Status EstimateFineTuneJob(grpc::ServerContext* context,
                                   const v1::EstimateFineTuneJobRequest* request,
                                   v1::EstimateFineTuneJobResponse* response) override;
  grpc::Status GetFineTuneJob(grpc::ServerContext* context,
                              const v1::GetFineTuneJobRequest* request,
                              v1::FineTuneJob* response) override;
  grpc::Status ListFineTuneJobs(grpc::ServerContext* context,
                                const v1::ListFineTuneJobsRequest* request,
                                v1::ListFineTuneJobsResponse* response) override;
  grpc::Status CancelFineTuneJob(grpc::ServerContext* context,
                                 const v1::CancelFineTuneJobRequest* request,
                                 v1::FineTuneJob* response) override;
  grpc::Status PauseFineTuneJob(grpc::ServerContext* context,
                                const v1::PauseFineTuneJobRequest* request,
                                v1::FineTuneJob* response) override;
  grpc::Status ResumeFineTuneJob(grpc::ServerContext* context,
                                 const v1::ResumeFineTuneJobRequest* request,
                                 v1::FineTuneJob* response) override;
  grpc::Status DeleteFineTuneJob(grpc::ServerContext* context,
                                 const v1::DeleteFineTuneJobRequest* request,
                                 google::protobuf::Empty* response) override;
  grpc::ServerWriteReactor<v1::WatchFineTuneJobResponse>* WatchFineTuneJob(
      grpc::CallbackServerContext* context, const v1::WatchFineTuneJobRequest* request) override;
  grpc::Status ListJobEvents(grpc::ServerContext* context, const v1::ListJobEventsRequest* request,
                             v1::ListJobEventsResponse* response) override;
  grpc::Status ListCheckpoints(grpc::ServerContext* context,
                               const v1::ListCheckpointsRequest* request,
                               v1::ListCheckpointsResponse* response) override;
  grpc::Status ListArtifacts(grpc::ServerContext* context, const v1::ListArtifactsRequest* request,
                             v1::ListArtifactsResponse* response) override;
  grpc::Status DownloadArtifact(grpc::ServerContext* context,
                                const v1::DownloadArtifactRequest* request,
                                grpc::ServerWriter<v1::DownloadArtifactResponse>* writer) override;

 private:
  absl::StatusOr<v1::FineTuneJob> Create(const v1::CreateFineTuneJobRequest& request);
  absl::StatusOr<v1::ListFineTuneJobsResponse> List(const v1::ListFineTuneJobsRequest& request);
  absl::StatusOr<v1::ListJobEventsResponse> ListEvents(const v1::ListJobEventsRequest& request);
  absl::Status Delete(const v1::DeleteFineTuneJobRequest& request);
  absl::Status Download(const v1::DownloadArtifactRequest& request,
                        grpc::ServerWriter<v1::DownloadArtifactResponse>* writer);

  const Dependencies to_;
};

}  // namespace longlora::server

#endif  // LONGLORA_SERVER_API_FINE_TUNE_SERVICE_H_
