#include "server/events/event_poll.h"

namespace longlora::server {

EventPoll::EventPoll(EventHub* hub, absl::Duration interval)
    : thread_([this, hub, interval] {
        const auto stopped_meanwhile = [&] {
          absl::MutexLock lock(&mutex_);
          return common::AwaitWithTimeout(&mutex_, absl::Condition(&stopping_), interval);
        };
        while (!stopped_meanwhile()) hub->NotifyAll();
      }) {}

EventPoll::~EventPoll() {
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
  }
  thread_.join();
}

}  // namespace longlora::server
