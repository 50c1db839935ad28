#include "server/api/call_pool.h"

#include <utility>

namespace longlora::server {

CallPool::CallPool(int threads) {
  for (int i = 0; i < threads; ++i) threads_.emplace_back([this] { Run(); });
}

CallPool::~CallPool() {
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
  }
  for (std::thread& thread : threads_) thread.join();
}

void CallPool::Post(Work work) {
  absl::MutexLock lock(&mutex_);
  waiting_.push_back(std::move(work));
}

void CallPool::Run() {
  while (true) {
    Work work;
    {
      absl::MutexLock lock(&mutex_);
      mutex_.Await(absl::Condition(this, &CallPool::HasWork));
      if (waiting_.empty()) return;
      work = std::move(waiting_.front());
      waiting_.pop_front();
    }
    work();
  }
}

}  // namespace longlora::server
