// The server's side of the seam, in memory, on a port of loopback: keeps what workers send, checks
// what the real server checks (fences, gaps, digests), and fails on demand. Thread-safe.
#ifndef LONGLORA_TESTS_WORKER_AGENT_FAKE_WORKER_SERVICE_H_
#define LONGLORA_TESTS_WORKER_AGENT_FAKE_WORKER_SERVICE_H_

#include <grpcpp/grpcpp.h>

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "worker/agent/attempt_id.h"
#include "worker/agent/protos.h"

namespace longlora::worker {

class FakeWorkerService : public seam::WorkerService::Service {
 public:
  FakeWorkerService();
  ~FakeWorkerService() override;

  // HOST:PORT it listens on.
  std::string address() const;
  std::shared_ptr<grpc::Channel> Channel() const;

  // --- what the server wants and has
  void Assign(const seam::Assignment& assignment);
  // Changes what is desired of an assigned attempt.
  void SetDesired(const AttemptId& id, seam::Assignment::Desired desired);
  void Unassign(const AttemptId& id);
  void SetLease(absl::Duration lease);
  // Stores a dataset file; returns "files/{sha256}".
  std::string AddFile(const std::string& content);
  // A file whose content does not have the digest of its name.
  std::string AddLyingFile(const std::string& content, const std::string& claimed);
  // An artifact of an earlier attempt.
  api::Artifact AddStoredArtifact(const std::string& path, const std::string& content);

  // --- misbehaviour
  void SetUnavailable(bool unavailable);
  void MakeStale(const AttemptId& id);
  void RefuseName();
  // Asks for a report with a greater number before it takes one.
  void AskForConfirmation(int64_t number);
  // Every stream of files ends with UNAVAILABLE after so many bytes, `times` times.
  void BreakStreams(int64_t after_bytes, int times);
  // Calls that move files wait until they are cancelled.
  void HoldStreams(bool hold);

  // --- what it got
  std::vector<seam::SynchronizeRequest> synchronize_requests() const;
  // The last state that was reported of an attempt.
  std::optional<seam::AttemptStatus> ReportedStatus(const AttemptId& id) const;
  std::vector<api::JobEvent> Events(const AttemptId& id) const;
  std::vector<api::Checkpoint> Checkpoints(const AttemptId& id) const;
  std::vector<api::Artifact> Results(const AttemptId& id) const;
  std::string ArtifactContent(const AttemptId& id, const std::string& path) const;
  // Bytes that came in and went out in streams of files.
  int64_t received_bytes() const;
  int64_t sent_bytes() const;
  // Streams that wait because of HoldStreams.
  int held_streams() const;

  grpc::Status Synchronize(grpc::ServerContext* context, const seam::SynchronizeRequest* request,
                           seam::SynchronizeResponse* response) override;
  grpc::Status ReportEvents(grpc::ServerContext* context, const seam::ReportEventsRequest* request,
                            seam::ReportEventsResponse* response) override;
  grpc::Status GetArtifactStatus(grpc::ServerContext* context,
                                 const seam::GetArtifactStatusRequest* request,
                                 seam::GetArtifactStatusResponse* response) override;
  grpc::Status UploadArtifact(grpc::ServerContext* context,
                              grpc::ServerReader<seam::UploadArtifactRequest>* reader,
                              seam::UploadArtifactResponse* response) override;
  grpc::Status CommitArtifacts(grpc::ServerContext* context,
                               const seam::CommitArtifactsRequest* request,
                               seam::CommitArtifactsResponse* response) override;
  grpc::Status FetchFile(grpc::ServerContext* context, const seam::FetchFileRequest* request,
                         grpc::ServerWriter<seam::FetchFileResponse>* writer) override;
  grpc::Status FetchArtifact(grpc::ServerContext* context,
                             const seam::FetchArtifactRequest* request,
                             grpc::ServerWriter<seam::FetchArtifactResponse>* writer) override;

 private:
  struct Upload {
    std::string content;
    bool complete = false;
  };

  absl::Status CheckFence(const std::string& job, int32_t attempt)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  grpc::Status WaitWhileHeld(grpc::ServerContext* context);
  // How many bytes the present stream may move before it breaks.
  int64_t TakeBreak();
  template <typename Response>
  grpc::Status Send(grpc::ServerContext* context, const std::string& content, int64_t offset,
                    grpc::ServerWriter<Response>* writer);

  mutable absl::Mutex mutex_;
  std::map<AttemptId, seam::Assignment> assignments_ ABSL_GUARDED_BY(mutex_);
  std::map<AttemptId, seam::AttemptStatus> reported_ ABSL_GUARDED_BY(mutex_);
  std::vector<seam::SynchronizeRequest> synchronize_requests_ ABSL_GUARDED_BY(mutex_);
  std::map<AttemptId, std::vector<api::JobEvent>> events_ ABSL_GUARDED_BY(mutex_);
  std::map<AttemptId, std::vector<api::Checkpoint>> checkpoints_ ABSL_GUARDED_BY(mutex_);
  std::map<AttemptId, std::vector<api::Artifact>> results_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, Upload> uploads_ ABSL_GUARDED_BY(mutex_);  // by attempt, path and digest
  std::map<std::string, std::string> files_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, std::string> stored_artifacts_ ABSL_GUARDED_BY(mutex_);
  std::set<AttemptId> stale_ ABSL_GUARDED_BY(mutex_);
  absl::Duration lease_ ABSL_GUARDED_BY(mutex_) = absl::Seconds(30);
  bool unavailable_ ABSL_GUARDED_BY(mutex_) = false;
  bool refuse_name_ ABSL_GUARDED_BY(mutex_) = false;
  int64_t confirmation_ ABSL_GUARDED_BY(mutex_) = 0;
  bool hold_ ABSL_GUARDED_BY(mutex_) = false;
  int held_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t break_after_ ABSL_GUARDED_BY(mutex_) = 0;
  int breaks_left_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t received_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t sent_ ABSL_GUARDED_BY(mutex_) = 0;

  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace longlora::worker

#endif  // LONGLORA_TESTS_WORKER_AGENT_FAKE_WORKER_SERVICE_H_
