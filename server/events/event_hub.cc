#include "server/events/event_hub.h"

namespace longlora::server {

EventSubscription& EventSubscription::operator=(EventSubscription&& other) noexcept {
  if (this != &other) {
    if (hub_ != nullptr) hub_->Unsubscribe(job_id_, key_);
    hub_ = std::exchange(other.hub_, nullptr);
    job_id_ = std::move(other.job_id_);
    key_ = other.key_;
  }
  return *this;
}

EventSubscription::~EventSubscription() {
  if (hub_ != nullptr) hub_->Unsubscribe(job_id_, key_);
}

EventSubscription EventHub::Subscribe(absl::string_view job_id, std::function<void()> wake) {
  EventSubscription subscription;
  subscription.hub_ = this;
  subscription.job_id_ = std::string(job_id);
  absl::MutexLock lock(&mutex_);
  subscription.key_ = next_key_++;
  watchers_[subscription.job_id_].emplace(subscription.key_, std::move(wake));
  ++watcher_count_;
  return subscription;
}

void EventHub::Notify(absl::string_view job_id) {
  // Called under the lock, so that nobody is woken after its subscription ended.
  absl::MutexLock lock(&mutex_);
  const auto found = watchers_.find(job_id);
  if (found == watchers_.end()) return;
  for (const auto& [key, wake] : found->second) wake();
}

void EventHub::NotifyAll() {
  absl::MutexLock lock(&mutex_);
  for (const auto& [job_id, watchers] : watchers_) {
    for (const auto& [key, wake] : watchers) wake();
  }
}

size_t EventHub::watcher_count() const {
  absl::MutexLock lock(&mutex_);
  return watcher_count_;
}

void EventHub::Unsubscribe(const std::string& job_id, int64_t key) {
  absl::MutexLock lock(&mutex_);
  const auto found = watchers_.find(job_id);
  found->second.erase(key);
  if (found->second.empty()) watchers_.erase(found);
  --watcher_count_;
}

}  // namespace longlora::server
