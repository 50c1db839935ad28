// Brings to this node what an attempt needs before its trainer can start: dataset files, the
// checkpoint to go on from, and the spec with this node's paths. Free function, safe from any
// thread.
#ifndef LONGLORA_WORKER_AGENT_JOB_FILES_H_
#define LONGLORA_WORKER_AGENT_JOB_FILES_H_

#include "absl/status/status.h"
#include "worker/agent/attempt_directory.h"
#include "worker/agent/attempt_id.h"
#include "worker/agent/cancellation.h"
#include "worker/agent/file_cache.h"
#include "worker/agent/model_paths.h"
#include "worker/agent/protos.h"
#include "worker/agent/retry.h"
#include "worker/agent/server_link.h"

namespace longlora::worker {

struct JobFilesContext {
  AttemptId id;
  ServerLink* link;
  FileCache* cache;
  ModelRoots roots;
  Cancellation* cancellation;
  RetryPolicy retry;
};

// Fills `directory`, which exists and is empty. Errors carry the reason of the failure (see
// failure.h).
absl::Status PrepareJobFiles(const JobFilesContext& context, const seam::Assignment& assignment,
                             const AttemptDirectory& directory);

}  // namespace longlora::worker

#endif  // LONGLORA_WORKER_AGENT_JOB_FILES_H_
