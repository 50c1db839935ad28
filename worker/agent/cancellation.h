// Ends calls and waits of an attempt from another thread. Once cancelled, it stays so. Thread-safe.
#ifndef LONGLORA_WORKER_AGENT_CANCELLATION_H_
#define LONGLORA_WORKER_AGENT_CANCELLATION_H_

#include <grpcpp/client_context.h>

#include <set>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

namespace longlora::worker {

class Cancellation {
 public:
  // Ends waits and calls in flight, and all later ones at once.
  void Cancel();
  bool cancelled() const;
  // Waits; true as soon as it is cancelled.
  bool WaitFor(absl::Duration duration);

  // Ties a call to a cancellation as long as it lives.
  class Scope {
   public:
    Scope(Cancellation* cancellation, grpc::ClientContext* context);
    ~Scope();
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

   private:
    Cancellation* const cancellation_;
    grpc::ClientContext* const context_;
  };

 private:
  mutable absl::Mutex mutex_;
  bool cancelled_ ABSL_GUARDED_BY(mutex_) = false;
  std::set<grpc::ClientContext*> contexts_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace longlora::worker

#endif  // LONGLORA_WORKER_AGENT_CANCELLATION_H_
