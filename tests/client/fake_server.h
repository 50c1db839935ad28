// The public services in the test's own process, on a free loopback port, with faults on demand:
// what a client must survive. Holds what the proto promises, in the simplest way. Thread-safe.
#ifndef LONGLORA_TESTS_CLIENT_FAKE_SERVER_H_
#define LONGLORA_TESTS_CLIENT_FAKE_SERVER_H_

#include <grpcpp/server.h>

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "longlora/v1/file_service.grpc.pb.h"
#include "longlora/v1/fine_tune_service.grpc.pb.h"
#include "longlora/v1/worker_directory_service.grpc.pb.h"

namespace longlora::client {

class FakeServer final : public v1::FineTuneService::Service,
                         public v1::FileService::Service,
                         public v1::WorkerDirectoryService::Service {
 public:
  FakeServer();
  ~FakeServer() override;

  const std::string& address() const { return address_; }  // 127.0.0.1:PORT
  // As a crash looks to clients: connections break, the port is closed. State stays.
  void Stop();
  // Serves again on the same port.
  void Start();

  // --- state
  // A job called fineTuneJobs/`id`; its state can be set by AddState.
  void AddJob(const std::string& id, v1::FineTuneJob::State state = v1::FineTuneJob::QUEUED);
  void EditJob(const std::string& id, const std::function<void(v1::FineTuneJob&)>& edit);
  // Appends an event with the next sequence and wakes watchers.
  void AddEvent(const std::string& id, v1::JobEvent event);
  void AddStep(const std::string& id, int64_t step, double loss);
  // Sets the state and appends its event.
  void AddState(const std::string& id, v1::FineTuneJob::State state);
  void AddArtifact(const std::string& id, const std::string& path, const std::string& content);
  void AddCheckpoint(const std::string& id, int64_t step, const std::string& content);
  void AddWorker(const v1::Worker& worker);
  void EditWorker(const std::string& name, const std::function<void(v1::Worker&)>& edit);
  // What a complete upload left, by SHA-256.
  std::map<std::string, std::string> files();
  // What the last create asked for.
  v1::CreateFineTuneJobRequest created();
  // What every estimate answers.
  void SetEstimate(const v1::EstimateFineTuneJobResponse& estimate);
  // What the last estimate asked for.
  v1::EstimateFineTuneJobRequest estimated();

  // --- faults
  // The next call of `method` ("GetFineTuneJob") fails with `status`; several queue up.
  void FailNext(const std::string& method, const grpc::Status& status);
  // The next streams end with UNAVAILABLE after so many events, chunks of a download or chunks of
  // an upload; each number is used up by one stream.
  void BreakStreamsAfter(std::vector<int> counts);
  // The next download has one byte changed.
  void CorruptNextDownload();
  // What happens to the next created job, on the thread of the create.
  void ScriptNextJob(std::function<void(FakeServer&, const std::string& id)> script);

  // Calls so far, failed ones included.
  int calls(const std::string& method);
  std::vector<int64_t> download_offsets();
  std::vector<std::string> request_ids();

 private:
  using Context = grpc::ServerContext;

  grpc::Status CreateFineTuneJob(Context*, const v1::CreateFineTuneJobRequest*,
                                 v1::FineTuneJob*) override;
  grpc::Status EstimateFineTuneJob(Context*, const v1::EstimateFineTuneJobRequest*,
                                   v1::EstimateFineTuneJobResponse*) override;
  grpc::Status GetFineTuneJob(Context*, const v1::GetFineTuneJobRequest*,
                              v1::FineTuneJob*) override;
  grpc::Status ListFineTuneJobs(Context*, const v1::ListFineTuneJobsRequest*,
                                v1::ListFineTuneJobsResponse*) override;
  grpc::Status CordonWorker(Context*, const v1::CordonWorkerRequest*, v1::Worker*) override;
  grpc::Status DrainWorker(Context*, const v1::DrainWorkerRequest*, v1::Worker*) override;
  grpc::Status UncordonWorker(Context*, const v1::UncordonWorkerRequest*, v1::Worker*) override;
  grpc::Status SetScheduling(const std::string& name, v1::Worker::Scheduling scheduling,
                             v1::Worker* response);
  grpc::Status PauseFineTuneJob(Context*, const v1::PauseFineTuneJobRequest*,
                                v1::FineTuneJob*) override;
  grpc::Status ResumeFineTuneJob(Context*, const v1::ResumeFineTuneJobRequest*,
                                 v1::FineTuneJob*) override;
  grpc::Status CancelFineTuneJob(Context*, const v1::CancelFineTuneJobRequest*,
                                 v1::FineTuneJob*) override;
  grpc::Status DeleteFineTuneJob(Context*, const v1::DeleteFineTuneJobRequest*,
                                 google::protobuf::Empty*) override;
  grpc::Status WatchFineTuneJob(Context*, const v1::WatchFineTuneJobRequest*,
                                grpc::ServerWriter<v1::WatchFineTuneJobResponse>*) override;
  grpc::Status ListJobEvents(Context*, const v1::ListJobEventsRequest*,
                             v1::ListJobEventsResponse*) override;
  grpc::Status ListCheckpoints(Context*, const v1::ListCheckpointsRequest*,
                               v1::ListCheckpointsResponse*) override;
  grpc::Status ListArtifacts(Context*, const v1::ListArtifactsRequest*,
                             v1::ListArtifactsResponse*) override;
  grpc::Status DownloadArtifact(Context*, const v1::DownloadArtifactRequest*,
                                grpc::ServerWriter<v1::DownloadArtifactResponse>*) override;
  grpc::Status GetFile(Context*, const v1::GetFileRequest*, v1::File*) override;
  grpc::Status UploadFile(Context*, grpc::ServerReader<v1::UploadFileRequest>*, v1::File*) override;
  grpc::Status ListWorkers(Context*, const v1::ListWorkersRequest*,
                           v1::ListWorkersResponse*) override;

  struct Job {
    v1::FineTuneJob job;
    std::vector<v1::JobEvent> events;
    std::vector<v1::Artifact> results;
    std::vector<v1::Checkpoint> checkpoints;
    std::map<std::string, std::string> contents;  // by path
  };

  // Counts the call; the fault that was ordered for it, or OK.
  grpc::Status Enter(const std::string& method) ABSL_LOCKS_EXCLUDED(mutex_);
  // Null when there is none.
  Job* Find(const std::string& name) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Messages the next stream may carry; -1: all.
  int TakeBreak() ABSL_LOCKS_EXCLUDED(mutex_);

  std::string address_;
  std::unique_ptr<grpc::Server> server_;

  absl::Mutex mutex_;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  int made_ ABSL_GUARDED_BY(mutex_) = 0;
  std::map<std::string, Job> jobs_ ABSL_GUARDED_BY(mutex_);  // by name
  std::map<std::string, v1::File> uploads_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, std::string> upload_contents_ ABSL_GUARDED_BY(mutex_);
  v1::ListWorkersResponse workers_ ABSL_GUARDED_BY(mutex_);
  v1::CreateFineTuneJobRequest created_ ABSL_GUARDED_BY(mutex_);
  v1::EstimateFineTuneJobResponse estimate_ ABSL_GUARDED_BY(mutex_);
  v1::EstimateFineTuneJobRequest estimated_ ABSL_GUARDED_BY(mutex_);
  std::function<void(FakeServer&, const std::string&)> script_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, std::deque<grpc::Status>> faults_ ABSL_GUARDED_BY(mutex_);
  std::deque<int> breaks_ ABSL_GUARDED_BY(mutex_);
  bool corrupt_ ABSL_GUARDED_BY(mutex_) = false;
  std::map<std::string, int> calls_ ABSL_GUARDED_BY(mutex_);
  std::vector<int64_t> download_offsets_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::string> request_ids_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace longlora::client

#endif  // LONGLORA_TESTS_CLIENT_FAKE_SERVER_H_
