// Sends checkpoints to the server while the trainer goes on. One thread an attempt; the other
// functions may be called from any thread.
#ifndef LONGLORA_WORKER_AGENT_CHECKPOINT_UPLOADER_H_
#define LONGLORA_WORKER_AGENT_CHECKPOINT_UPLOADER_H_

#include <cstdint>
#include <deque>
#include <functional>
#include <optional>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "common/threads/threads.h"
#include "worker/agent/artifact_upload.h"

namespace longlora::worker {

struct PendingCheckpoint {
  int64_t step = 0;
  std::optional<double> loss;  // of that step
  std::string path;            // artifact prefix: "checkpoints/step-100"
  bool best = false;           // of the lowest validation loss so far
};

class CheckpointUploader {
 public:
  // `staging`: an own directory on the output's file system. `pending_max`: checkpoints that wait;
  // when there are more the oldest are given up, newer ones replace them. `on_failed` hears of
  // every checkpoint that could not be stored, on the uploader's thread.
  CheckpointUploader(UploadContext context, std::string staging, size_t pending_max,
                     std::function<void(int64_t step, const absl::Status&)> on_failed);
  // Stops at once.
  ~CheckpointUploader();

  // Takes hold of the complete checkpoint in `directory` by hard links, because the trainer deletes
  // old ones on its own, and queues it.
  absl::Status Add(const PendingCheckpoint& checkpoint, const std::string& directory);
  // Waits until nothing is queued or in flight, or the context's cancellation.
  void WaitUntilDone();

 private:
  void Run();
  absl::Status Upload(const PendingCheckpoint& checkpoint);
  std::string StagingOf(int64_t step) const;
  bool HasWork() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return ending_ || !queue_.empty(); }
  bool IsDone() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return ending_ || (queue_.empty() && !busy_) || context_.cancellation->cancelled();
  }

  const UploadContext context_;
  const std::string staging_;
  const size_t pending_max_;
  const std::function<void(int64_t, const absl::Status&)> on_failed_;
  absl::Mutex mutex_;
  std::deque<PendingCheckpoint> queue_ ABSL_GUARDED_BY(mutex_);
  bool busy_ ABSL_GUARDED_BY(mutex_) = false;
  bool ending_ ABSL_GUARDED_BY(mutex_) = false;
  common::Thread thread_;
};

}  // namespace longlora::worker

#endif  // LONGLORA_WORKER_AGENT_CHECKPOINT_UPLOADER_H_
