#include "worker/agent/cancellation.h"

#include "common/threads/threads.h"

namespace longlora::worker {

void Cancellation::Cancel() {
  absl::MutexLock lock(&mutex_);
  cancelled_ = true;
  for (grpc::ClientContext* context : contexts_) context->TryCancel();
}

bool Cancellation::cancelled() const {
  absl::MutexLock lock(&mutex_);
  return cancelled_;
}

bool Cancellation::WaitFor(absl::Duration duration) {
  absl::MutexLock lock(&mutex_);
  return common::AwaitWithTimeout(&mutex_, absl::Condition(&cancelled_), duration);
}

Cancellation::Scope::Scope(Cancellation* cancellation, grpc::ClientContext* context)
    : cancellation_(cancellation), context_(context) {
  absl::MutexLock lock(&cancellation_->mutex_);
  cancellation_->contexts_.insert(context_);
  if (cancellation_->cancelled_) context_->TryCancel();
}

Cancellation::Scope::~Scope() {
  absl::MutexLock lock(&cancellation_->mutex_);
  cancellation_->contexts_.erase(context_);
}

}  // namespace longlora::worker
