#include "common/threads/threads.h"

#include <atomic>
#include <thread>
#include <utility>

namespace longlora::common {
namespace {

class MachineThreads : public Threads {
 public:
  std::unique_ptr<Running> Start(std::function<void()> body) override {
    class Joined : public Running {
     public:
      explicit Joined(std::function<void()> body) : thread_(std::move(body)) {}
      void Join() override { thread_.join(); }

     private:
      std::thread thread_;
    };
    return std::make_unique<Joined>(std::move(body));
  }
  bool Await(absl::Mutex* mutex, const absl::Condition& condition,
             absl::Duration timeout) override ABSL_NO_THREAD_SAFETY_ANALYSIS {
    return mutex->AwaitWithTimeout(condition, timeout);
  }
  void Yield() override { std::this_thread::yield(); }
};

std::atomic<Threads*> replaced = nullptr;

}  // namespace

Threads& Threads::Current() {
  static MachineThreads* const machine = new MachineThreads;
  Threads* const other = replaced.load(std::memory_order_acquire);
  return other != nullptr ? *other : *machine;
}

void Threads::Replace(Threads* threads) { replaced.store(threads, std::memory_order_release); }

}  // namespace longlora::common
