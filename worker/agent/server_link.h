// Every call of the server that a worker makes, as plain functions with absl::Status: deadlines and
// cancellation are set here and nowhere else. Thread-safe.
#ifndef LONGLORA_WORKER_AGENT_SERVER_LINK_H_
#define LONGLORA_WORKER_AGENT_SERVER_LINK_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "common/time/clock.h"
#include "worker/agent/attempt_id.h"
#include "worker/agent/cancellation.h"
#include "worker/agent/protos.h"

namespace longlora::worker {

// The largest piece of a file in one message, as the protocol has it.
inline constexpr int64_t kChunkBytesMax = 1 << 20;

// Whether the server refused because the attempt is no longer the job's present one.
bool IsStale(const absl::Status& status);

class ServerLink {
 public:
  // Receives a piece of a file; an error ends the call with that error.
  using OnData = absl::FunctionRef<absl::Status(absl::string_view)>;
  using Stub = seam::WorkerService::StubInterface;

  // Deadlines are dates of `clock`.
  ServerLink(std::unique_ptr<Stub> stub, std::string worker,
             common::Clock* clock = &common::Clock::Real());

  const std::string& worker() const { return worker_; }

  absl::StatusOr<seam::SynchronizeResponse> Synchronize(const seam::SynchronizeRequest& request,
                                                        absl::Duration timeout);
  // Returns the acknowledged sequence.
  absl::StatusOr<int64_t> ReportEvents(const AttemptId& id,
                                       const std::vector<seam::AttemptEvent>& events,
                                       Cancellation* cancellation);
  absl::StatusOr<seam::GetArtifactStatusResponse> GetArtifactStatus(const AttemptId& id,
                                                                    const api::Artifact& artifact,
                                                                    Cancellation* cancellation);
  // Sends the file open as `fd` from `offset` on; `on_sent` learns of every piece that was handed
  // over.
  absl::Status UploadArtifact(const AttemptId& id, const api::Artifact& artifact, int fd,
                              int64_t offset, absl::FunctionRef<void(int64_t bytes)> on_sent,
                              Cancellation* cancellation);
  absl::Status CommitCheckpoint(const AttemptId& id, const api::Checkpoint& checkpoint,
                                Cancellation* cancellation);
  absl::Status CommitResults(const AttemptId& id, const std::vector<api::Artifact>& artifacts,
                             Cancellation* cancellation);
  absl::Status FetchFile(const std::string& name, int64_t offset, OnData on_data,
                         Cancellation* cancellation);
  absl::Status FetchArtifact(const AttemptId& id, const std::string& path, int64_t offset,
                             OnData on_data, Cancellation* cancellation);

 private:
  seam::ArtifactRef MakeRef(const AttemptId& id, const api::Artifact& artifact) const;
  void SetTimeout(grpc::ClientContext& context, absl::Duration timeout) const;
  absl::Status Commit(const seam::CommitArtifactsRequest& request, Cancellation* cancellation);

  const std::unique_ptr<Stub> stub_;
  const std::string worker_;
  common::Clock* const clock_;
};

}  // namespace longlora::worker

#endif  // LONGLORA_WORKER_AGENT_SERVER_LINK_H_
