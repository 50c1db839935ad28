// Sends files of an attempt to the server: resumable, with a digest over each whole. Free
// functions, safe from any thread.
#ifndef LONGLORA_WORKER_AGENT_ARTIFACT_UPLOAD_H_
#define LONGLORA_WORKER_AGENT_ARTIFACT_UPLOAD_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "worker/agent/attempt_id.h"
#include "worker/agent/cancellation.h"
#include "worker/agent/protos.h"
#include "worker/agent/retry.h"
#include "worker/agent/server_link.h"
#include "worker/metrics/worker_metrics.h"

namespace longlora::worker {

// What an upload needs beside the file.
struct UploadContext {
  AttemptId id;
  ServerLink* link;
  WorkerMetrics* metrics;
  Cancellation* cancellation;
  RetryPolicy policy;
};

// Sends the file at `local` as the artifact `path`; it must not change meanwhile. Goes on while the
// server is away. CANCELLED, or a final error of the server.
absl::StatusOr<api::Artifact> UploadArtifactFile(const UploadContext& context,
                                                 const std::string& local, const std::string& path);

// Sends every file below `directory`, as `prefix`/(its relative path).
absl::StatusOr<std::vector<api::Artifact>> UploadArtifactTree(const UploadContext& context,
                                                              const std::string& directory,
                                                              const std::string& prefix);

}  // namespace longlora::worker

#endif  // LONGLORA_WORKER_AGENT_ARTIFACT_UPLOAD_H_
