// Processes by fork and exec. The child gets SIGKILL when the worker dies (PR_SET_PDEATHSIG);
// because the kernel ties that to the *thread* that forked, one thread of the launcher forks all
// children and lives as long as the launcher. Nothing but descriptors 0 to 3 is inherited.
#ifndef LONGLORA_WORKER_SUPERVISOR_POSIX_PROCESS_H_
#define LONGLORA_WORKER_SUPERVISOR_POSIX_PROCESS_H_

#include <functional>
#include <memory>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "worker/supervisor/process.h"

namespace longlora::worker {

// Must outlive the processes it launched. Thread-safe.
class PosixProcessLauncher : public ProcessLauncher {
 public:
  PosixProcessLauncher();
  // Ends the forking thread, and with it every child that still lives.
  ~PosixProcessLauncher() override;

  absl::StatusOr<std::unique_ptr<Process>> Launch(const ProcessSpec& spec) override;

 private:
  void ServeRequests();

  absl::Mutex mutex_;
  std::function<void()> request_ ABSL_GUARDED_BY(mutex_);
  bool ending_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace longlora::worker

#endif  // LONGLORA_WORKER_SUPERVISOR_POSIX_PROCESS_H_
