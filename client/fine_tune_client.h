// The public API as C++ calls: deadlines, retries and errors in one place. Used by the command line
// and by any program that submits jobs. Thread-safe. Streams are in watch.h, upload.h and
// download.h.
//
// Errors are those of proto/longlora/v1 with their ErrorInfo (rpc::GetErrorDetails), and
// UNAVAILABLE or DEADLINE_EXCEEDED, naming the server, when it does not answer.
#ifndef LONGLORA_CLIENT_FINE_TUNE_CLIENT_H_
#define LONGLORA_CLIENT_FINE_TUNE_CLIENT_H_

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "client/cancellation.h"
#include "client/retry.h"
#include "longlora/v1/file_service.grpc.pb.h"
#include "longlora/v1/fine_tune_service.grpc.pb.h"
#include "longlora/v1/queue_service.grpc.pb.h"
#include "longlora/v1/worker_directory_service.grpc.pb.h"
#include "rpc/credentials.h"

namespace longlora::client {

struct ClientOptions {
  std::string server;  // HOST:PORT
  rpc::ClientSecurity security;
  absl::Duration call_deadline = absl::Seconds(30);  // of each unary call
  RetryPolicy retry;
  Cancellation* cancellation = nullptr;  // not owned; outlives the client. Null: nothing interrupts
};

class FineTuneClient {
 public:
  // INVALID_ARGUMENT or NOT_FOUND on unsafe or unreadable credentials. Does not connect yet.
  static absl::StatusOr<std::unique_ptr<FineTuneClient>> Create(ClientOptions options);
  // For tests: talks over `channel`.
  FineTuneClient(std::shared_ptr<grpc::Channel> channel, ClientOptions options);

  // Tried again safely, because `request.request_id` makes the call idempotent; the caller sets it
  // once per wish (AIP-155).
  absl::StatusOr<v1::FineTuneJob> CreateJob(const v1::CreateFineTuneJobRequest& request);
  absl::StatusOr<v1::EstimateFineTuneJobResponse> EstimateJob(
      const v1::EstimateFineTuneJobRequest& request);
  absl::StatusOr<v1::FineTuneJob> GetJob(const std::string& name);
  // All jobs in `states` (empty: any), newest first, at most `limit` (0: no limit), page by page.
  absl::StatusOr<std::vector<v1::FineTuneJob>> ListJobs(
      const std::vector<v1::FineTuneJob::State>& states, int64_t limit);
  // Both return the job as it is then; doing so again changes nothing.
  absl::StatusOr<v1::FineTuneJob> PauseJob(const std::string& name);
  absl::StatusOr<v1::FineTuneJob> ResumeJob(const std::string& name);
  // Returns the job as it is then, also when an unanswered first try had already cancelled it.
  absl::StatusOr<v1::FineTuneJob> CancelJob(const std::string& name);
  absl::Status DeleteJob(const std::string& name, bool force);
  // Calls `on_event` for every event so far, oldest first.
  absl::Status ListEvents(const std::string& name,
                          const std::function<void(const v1::JobEvent&)>& on_event);
  absl::StatusOr<v1::ListCheckpointsResponse> ListCheckpoints(const std::string& name);
  absl::StatusOr<v1::ListArtifactsResponse> ListArtifacts(const std::string& name);
  absl::StatusOr<v1::ListQueuesResponse> ListQueues();
  // The jobs that wait in `queue` (`queues/{id}`; empty: in any), in their order, at most `limit`;
  // next_page_token is set when there are more.
  absl::StatusOr<v1::ListQueuedJobsResponse> ListQueuedJobs(const std::string& queue,
                                                            int64_t limit);
  absl::StatusOr<v1::ListWorkersResponse> ListWorkers();
  // Whether a worker gets jobs. INVALID_ARGUMENT for SCHEDULING_UNSPECIFIED.
  absl::StatusOr<v1::Worker> SetScheduling(const std::string& worker,
                                           v1::Worker::Scheduling scheduling);
  absl::StatusOr<v1::File> GetFile(const std::string& name);

  // For the streams of this library.
  v1::FineTuneService::Stub& jobs() { return *jobs_; }
  v1::FileService::Stub& files() { return *files_; }
  const ClientOptions& options() const { return options_; }
  Cancellation* cancellation() const { return options_.cancellation; }
  // To be called before a new try: connects now instead of after gRPC's own delay. Waits a quarter
  // of a second for it at most.
  void Reconnect();
  // What a call returned, as absl::Status, with the server's name where it does not answer.
  absl::Status ToStatus(const grpc::Status& status) const;

 private:
  // One unary call, or several while the server is UNAVAILABLE; `tries` counts them.
  template <typename Request, typename Response, typename Stub>
  absl::StatusOr<Response> Call(Stub& stub,
                                grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&,
                                                             Response*),
                                const Request& request, int* tries = nullptr);

  const ClientOptions options_;
  const std::shared_ptr<grpc::Channel> channel_;
  const std::unique_ptr<v1::FineTuneService::Stub> jobs_;
  const std::unique_ptr<v1::FileService::Stub> files_;
  const std::unique_ptr<v1::QueueService::Stub> queues_;
  const std::unique_ptr<v1::WorkerDirectoryService::Stub> workers_;
};

}  // namespace longlora::client

#endif  // LONGLORA_CLIENT_FINE_TUNE_CLIENT_H_
