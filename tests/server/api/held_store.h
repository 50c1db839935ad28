// A job store in front of another that keeps its decisions back when told to: a disk that is slow.
// Thread-safe. For tests of server/api.
#ifndef LONGLORA_TESTS_SERVER_API_HELD_STORE_H_
#define LONGLORA_TESTS_SERVER_API_HELD_STORE_H_

#include <cstddef>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "server/store/job_store.h"

namespace longlora::server {

class HeldStore : public JobStore {
 public:
  explicit HeldStore(JobStore& store) : store_(store) {}
  ~HeldStore() override { Release(); }

  // From now on nothing is decided, until Release.
  void Hold() {
    absl::MutexLock lock(&mutex_);
    holding_ = true;
  }
  void Release() {
    std::vector<Held> held;
    {
      absl::MutexLock lock(&mutex_);
      holding_ = false;
      held.swap(held_);
    }
    for (const Held& one : held) one.promised.Decide(one.real.Wait());
  }
  // Blocks until so many decisions are held.
  void AwaitHeld(size_t count) {
    absl::MutexLock lock(&mutex_);
    wanted_ = count;
    mutex_.Await(absl::Condition(this, &HeldStore::HasWanted));
  }

  CommitTicket Enqueue(JobTransaction change) override {
    return Keep(store_.Enqueue(std::move(change)));
  }
  CommitTicket EnqueueWorker(internal::v1::WorkerRecord worker) override {
    return Keep(store_.EnqueueWorker(std::move(worker)));
  }
  CommitTicket EnqueueForgetWorker(std::string name) override {
    return Keep(store_.EnqueueForgetWorker(std::move(name)));
  }
  CommitTicket EnqueueDropEvents(std::string id, int64_t through) override {
    return store_.EnqueueDropEvents(std::move(id), through);
  }
  absl::StatusOr<std::vector<StoredJob>> ListEventLogs(const EventLogQuery& query) override {
    return store_.ListEventLogs(query);
  }
  CommitTicket Confirm() override { return Keep(store_.Confirm()); }
  absl::StatusOr<StoredJob> ReadJob(absl::string_view id) override { return store_.ReadJob(id); }
  absl::StatusOr<StoredJob> ReadJobByRequestId(absl::string_view id) override {
    return store_.ReadJobByRequestId(id);
  }
  absl::StatusOr<std::vector<StoredJob>> ListJobs(const JobQuery& query) override {
    return store_.ListJobs(query);
  }
  absl::StatusOr<std::vector<StoredJob>> ListLiveJobs() override { return store_.ListLiveJobs(); }
  absl::StatusOr<EventPage> ReadEvents(absl::string_view id, int64_t after,
                                       int32_t limit) override {
    return store_.ReadEvents(id, after, limit);
  }
  absl::StatusOr<std::vector<internal::v1::WorkerRecord>> ListWorkers() override {
    return store_.ListWorkers();
  }
  absl::StatusOr<std::map<v1::FineTuneJob::State, int64_t>> CountJobsByState() override {
    return store_.CountJobsByState();
  }
  absl::StatusOr<int64_t> NewestOrder() override { return store_.NewestOrder(); }

 private:
  struct Held {
    CommitTicket real;
    CommitTicket promised;
  };
  CommitTicket Keep(CommitTicket real) {
    absl::MutexLock lock(&mutex_);
    if (!holding_) return real;
    CommitTicket promised = CommitTicket::Pending();
    held_.push_back({std::move(real), promised});
    return promised;
  }
  bool HasWanted() const { return held_.size() >= wanted_; }

  JobStore& store_;
  absl::Mutex mutex_;
  bool holding_ = false;
  std::vector<Held> held_;
  size_t wanted_ = 0;
};

}  // namespace longlora::server

#endif  // LONGLORA_TESTS_SERVER_API_HELD_STORE_H_
