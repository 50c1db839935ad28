// Goal: many callers at once lose nothing, double nothing and never share a device.
// Method: threads of users, workers and a loop against one scheduler on a real store; the counts at
// the end.
#include <atomic>
#include <set>
#include <thread>

#include "server/scheduler/scheduler_loop.h"
#include "tests/server/scheduler/scheduler_fixture.h"

namespace longlora::server {
namespace {

constexpr int kWorkers = 4;
constexpr int kDevices = 2;
constexpr int kUsers = 4;
constexpr int kJobsPerUser = 10;

// Plays one worker to the end: runs what it is given, ten steps a job, and checks its devices.
class BusyWorker {
 public:
  BusyWorker(Scheduler& scheduler, int index)
      : scheduler_(scheduler), worker_(absl::StrCat("worker-", index), kDevices) {}

  void RunUntil(const std::atomic<int>& finished, int jobs) {
    while (finished < jobs) {
      const auto response = scheduler_.Synchronize(worker_.report());
      if (!response.ok()) continue;
      std::set<std::string> devices;
      std::set<std::string> desired;
      for (const Assignment& assignment : response->assignments()) {
        desired.insert(assignment.job());
        for (const std::string& device : assignment.device_ids()) {
          if (!devices.insert(device).second) device_shared = true;
        }
        if (ended_.insert(assignment.job()).second) Run(assignment);
      }
      auto& attempts = *worker_.report().mutable_attempts();
      for (int i = attempts.size() - 1; i >= 0; --i) {
        if (!desired.contains(attempts[i].job())) attempts.DeleteSubrange(i, 1);
      }
    }
  }
  bool device_shared = false;
  int failures = 0;

 private:
  void Run(const Assignment& assignment) {
    auto events = MakeEvents(worker_.name(), assignment.job(), assignment.attempt());
    AddPrepared(events, 1);
    for (int step = 1; step <= 10; ++step) AddStep(events, step + 1, step);
    failures += !scheduler_.RecordEvents(events).ok();
    failures += !scheduler_.RecordEvents(events).ok();  // sent twice
    worker::v1::CommitArtifactsRequest commit;
    commit.set_worker(worker_.name());
    commit.set_job(assignment.job());
    commit.set_attempt(assignment.attempt());
    *commit.mutable_results()->add_artifacts() = MakeArtifact("adapter/x");
    failures += !scheduler_.CommitArtifacts(commit).ok();
    worker_.Has(assignment.job(), assignment.attempt(), AttemptStatus::SUCCEEDED);
  }

  Scheduler& scheduler_;
  FakeWorker worker_;
  std::set<std::string> ended_;
};

TEST_F(SchedulerTest, ManyUsersAndWorkersAtOnceFinishEveryJobOnce) {
  FakeWorker first("worker-0", kDevices);
  Sync(first);  // so that the model is known
  SchedulerLoop loop(*scheduler_, absl::Milliseconds(20));
  std::vector<std::unique_ptr<BusyWorker>> workers;
  for (int i = 0; i < kWorkers; ++i)
    workers.push_back(std::make_unique<BusyWorker>(*scheduler_, i));
  std::atomic<int> finished = 0;
  std::atomic<int> refused = 0;
  std::vector<std::thread> threads;
  for (auto& worker : workers) {
    threads.emplace_back([&, w = worker.get()] { w->RunUntil(finished, kUsers * kJobsPerUser); });
  }
  for (int user = 0; user < kUsers; ++user) {
    threads.emplace_back([&, user] {
      for (int i = 0; i < kJobsPerUser; ++i) {
        const std::string wish = absl::StrCat("wish-", user, "-", i);
        const auto job = scheduler_->Submit({MakeSpec(1 + i % kDevices), wish, false});
        const auto again = scheduler_->Submit({MakeSpec(1 + i % kDevices), wish, false});
        if (!job.ok() || !again.ok() || job->name() != again->name()) {
          ++refused;
          ++finished;
          continue;
        }
        // Watches as a client does: woken by the hub, reading by sequence.
        absl::Mutex mutex;
        bool woken = false;
        const EventSubscription subscription = hub_.Subscribe(job->name().substr(13), [&] {
          absl::MutexLock lock(&mutex);
          woken = true;
        });
        while (!IsFinal(scheduler_->GetJob(job->name())->state())) {
          absl::MutexLock lock(&mutex);
          mutex.Await(absl::Condition(&woken));
          woken = false;
        }
        ++finished;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();

  EXPECT_EQ(refused, 0);
  for (const auto& worker : workers) {
    EXPECT_FALSE(worker->device_shared);
    EXPECT_EQ(worker->failures, 0);
  }
  ASSERT_OK_AND_ASSIGN(const JobPage page, scheduler_->ListJobs({.limit = 1000}));
  EXPECT_THAT(page.jobs, SizeIs(kUsers * kJobsPerUser));
  for (const Job& job : page.jobs) {
    EXPECT_EQ(job.state(), Job::SUCCEEDED);
    EXPECT_EQ(job.attempts_size(), 1);
    int steps = 0;
    for (const v1::JobEvent& event : Events(job.name())) steps += event.has_step();
    EXPECT_EQ(steps, 10);
  }
  const SchedulerSnapshot snapshot = scheduler_->Snapshot();
  EXPECT_EQ(snapshot.jobs_by_state.at(Job::SUCCEEDED), kUsers * kJobsPerUser);
  EXPECT_EQ(snapshot.devices.at("cpu").used, 0);
}

TEST_F(SchedulerTest, OneRequestIdFromManyThreadsMakesOneJob) {
  FakeWorker worker("a", 1);
  Sync(worker);
  std::vector<std::string> names(8);
  std::vector<std::thread> threads;
  for (std::string& name : names) {
    threads.emplace_back([&] {
      const auto job = scheduler_->Submit({MakeSpec(), "wish", false});
      if (job.ok()) name = job->name();
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const std::string& name : names) EXPECT_EQ(name, names[0]);
  EXPECT_NE(names[0], "");
  ASSERT_OK_AND_ASSIGN(const JobPage page, scheduler_->ListJobs({}));
  EXPECT_THAT(page.jobs, SizeIs(1));
}

}  // namespace
}  // namespace longlora::server
