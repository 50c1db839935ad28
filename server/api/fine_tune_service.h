// longlora.v1.FineTuneService: checks requests, asks the scheduler or, where an address only reads,
// a reader of the store, pages the answers. Neither unary calls nor watch streams hold a thread
// while they wait (see unary_calls.h, watch_stream.h); downloads do. Stateless; thread-safe.
#ifndef LONGLORA_SERVER_API_FINE_TUNE_SERVICE_H_
#define LONGLORA_SERVER_API_FINE_TUNE_SERVICE_H_

#include <cstdint>
#include <string>

#include "longlora/v1/fine_tune_service.grpc.pb.h"
#include "server/api/dataset_check.h"
#include "server/api/rate_limit.h"
#include "server/api/transfer.h"
#include "server/api/unary_calls.h"
#include "server/api/watch_stream.h"
#include "server/artifacts/artifact_store.h"
#include "server/events/event_log.h"
#include "server/scheduler/job_reader.h"
#include "server/scheduler/scheduler.h"

namespace longlora::server {

// Every method is served by callbacks but DownloadArtifact, which is one of the transfers.
using FineTuneServiceCallbacks = v1::FineTuneService::WithCallbackMethod_CreateFineTuneJob<
    v1::FineTuneService::WithCallbackMethod_EstimateFineTuneJob<
        v1::FineTuneService::WithCallbackMethod_GetFineTuneJob<
            v1::FineTuneService::WithCallbackMethod_ListFineTuneJobs<
                v1::FineTuneService::WithCallbackMethod_CancelFineTuneJob<
                    v1::FineTuneService::WithCallbackMethod_PauseFineTuneJob<
                        v1::FineTuneService::WithCallbackMethod_ResumeFineTuneJob<
                            v1::FineTuneService::WithCallbackMethod_DeleteFineTuneJob<
                                v1::FineTuneService::WithCallbackMethod_WatchFineTuneJob<
                                    v1::FineTuneService::WithCallbackMethod_ListJobEvents<
                                        v1::FineTuneService::WithCallbackMethod_ListCheckpoints<
                                            v1::FineTuneService::WithCallbackMethod_ListArtifacts<
                                                v1::FineTuneService::Service>>>>>>>>>>>>;

class FineTuneServiceHandler final : public FineTuneServiceCallbacks {
 public:
  struct Dependencies {
    JobReader* reader = nullptr;
    EventLog* events = nullptr;
    ArtifactStore* artifacts = nullptr;
    TransferLimit* transfers = nullptr;
    WatchStreams* watches = nullptr;
    UnaryCalls* calls = nullptr;
    // None: the address only reads, and needs none of the rest.
    Scheduler* scheduler = nullptr;
    DatasetCheck* datasets = nullptr;
    RateLimit* creates = nullptr;
    int64_t max_spec_bytes = 0;
  };
  explicit FineTuneServiceHandler(Dependencies dependencies) : to_(dependencies) {}

  grpc::ServerUnaryReactor* CreateFineTuneJob(grpc::CallbackServerContext* context,
                                              const v1::CreateFineTuneJobRequest* request,
                                              v1::FineTuneJob* response) override;
  grpc::ServerUnaryReactor* EstimateFineTuneJob(grpc::CallbackServerContext* context,
                                                const v1::EstimateFineTuneJobRequest* request,
                                                v1::EstimateFineTuneJobResponse* response) override;
  grpc::ServerUnaryReactor* GetFineTuneJob(grpc::CallbackServerContext* context,
                                           const v1::GetFineTuneJobRequest* request,
                                           v1::FineTuneJob* response) override;
  grpc::ServerUnaryReactor* ListFineTuneJobs(grpc::CallbackServerContext* context,
                                             const v1::ListFineTuneJobsRequest* request,
                                             v1::ListFineTuneJobsResponse* response) override;
  grpc::ServerUnaryReactor* CancelFineTuneJob(grpc::CallbackServerContext* context,
                                              const v1::CancelFineTuneJobRequest* request,
                                              v1::FineTuneJob* response) override;
  grpc::ServerUnaryReactor* PauseFineTuneJob(grpc::CallbackServerContext* context,
                                             const v1::PauseFineTuneJobRequest* request,
                                             v1::FineTuneJob* response) override;
  grpc::ServerUnaryReactor* ResumeFineTuneJob(grpc::CallbackServerContext* context,
                                              const v1::ResumeFineTuneJobRequest* request,
                                              v1::FineTuneJob* response) override;
  grpc::ServerUnaryReactor* DeleteFineTuneJob(grpc::CallbackServerContext* context,
                                              const v1::DeleteFineTuneJobRequest* request,
                                              google::protobuf::Empty* response) override;
  grpc::ServerWriteReactor<v1::WatchFineTuneJobResponse>* WatchFineTuneJob(
      grpc::CallbackServerContext* context, const v1::WatchFineTuneJobRequest* request) override;
  grpc::ServerUnaryReactor* ListJobEvents(grpc::CallbackServerContext* context,
                                          const v1::ListJobEventsRequest* request,
                                          v1::ListJobEventsResponse* response) override;
  grpc::ServerUnaryReactor* ListCheckpoints(grpc::CallbackServerContext* context,
                                            const v1::ListCheckpointsRequest* request,
                                            v1::ListCheckpointsResponse* response) override;
  grpc::ServerUnaryReactor* ListArtifacts(grpc::CallbackServerContext* context,
                                          const v1::ListArtifactsRequest* request,
                                          v1::ListArtifactsResponse* response) override;
  grpc::Status DownloadArtifact(grpc::ServerContext* context,
                                const v1::DownloadArtifactRequest* request,
                                grpc::ServerWriter<v1::DownloadArtifactResponse>* writer) override;

 private:
  absl::Status CheckRate(const grpc::CallbackServerContext& context);
  // What Cancel, Pause and Resume have in common.
  template <typename Request>
  grpc::ServerUnaryReactor* Ask(JobTrigger trigger, grpc::CallbackServerContext* context,
                                const Request* request, v1::FineTuneJob* response);
  Answer<v1::FineTuneJob> Create(const v1::CreateFineTuneJobRequest& request);
  absl::StatusOr<v1::ListFineTuneJobsResponse> List(const v1::ListFineTuneJobsRequest& request);
  absl::StatusOr<v1::ListJobEventsResponse> ListEvents(const v1::ListJobEventsRequest& request);
  absl::StatusOr<google::protobuf::Empty> Delete(const v1::DeleteFineTuneJobRequest& request);
  absl::StatusOr<v1::ListCheckpointsResponse> Checkpoints(const std::string& job);
  absl::StatusOr<v1::ListArtifactsResponse> Results(const std::string& job);
  absl::Status Download(const v1::DownloadArtifactRequest& request,
                        grpc::ServerWriter<v1::DownloadArtifactResponse>* writer);

  const Dependencies to_;
};

}  // namespace longlora::server

#endif  // LONGLORA_SERVER_API_FINE_TUNE_SERVICE_H_
