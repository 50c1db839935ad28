// Lets one thread end what another waits for: a sleep between retries, or a gRPC call in flight.
// Used by everything in the client that may take long; the command line cancels on Ctrl-C.
// Thread-safe.
#ifndef LONGLORA_CLIENT_CANCELLATION_H_
#define LONGLORA_CLIENT_CANCELLATION_H_

#include <grpcpp/client_context.h>

#include <set>

#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

namespace longlora::client {

class Cancellation {
 public:
  Cancellation() = default;
  Cancellation(const Cancellation&) = delete;
  Cancellation& operator=(const Cancellation&) = delete;

  // Ends every sleep and every attached call, present and future. Cannot be undone.
  void Cancel();
  bool cancelled() const;

  // Waits for `duration`; false when it was cut short by Cancel().
  bool Sleep(absl::Duration duration);

 private:
  friend class CancellableCall;

  mutable absl::Mutex mutex_;
  bool cancelled_ ABSL_GUARDED_BY(mutex_) = false;
  std::set<grpc::ClientContext*> calls_ ABSL_GUARDED_BY(mutex_);
};

// Attaches the call of `context` to `cancellation` (which may be null) while it lives.
class CancellableCall {
 public:
  CancellableCall(Cancellation* cancellation, grpc::ClientContext* context);
  ~CancellableCall();
  CancellableCall(const CancellableCall&) = delete;
  CancellableCall& operator=(const CancellableCall&) = delete;

 private:
  Cancellation* const cancellation_;
  grpc::ClientContext* const context_;
};

}  // namespace longlora::client

#endif  // LONGLORA_CLIENT_CANCELLATION_H_
