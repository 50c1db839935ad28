// Goal: queues get what they are owed, borrow what is free, give it back at the least cost, and
// nobody waits for ever. Method: small clusters as values, one case a rule; then random clusters
// whose jobs run, end and come, against the invariants.
#include <map>
#include <random>
#include <set>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/scheduler/placement.h"

namespace longlora::server {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using Map = std::map<std::string, std::string>;

// A cluster of cpu devices that all jobs may use.
class QueuePlacementTest : public ::testing::Test {
 protected:
  void SetUp() override { config_.min_run_time = absl::ZeroDuration(); }

  QueueConfig& Queue(const std::string& name, int nominal, std::optional<int32_t> borrowing = {}) {
    QueueConfig& queue = config_.queues[name];
    queue.quotas["cpu"] = {nominal, borrowing};
    return queue;
  }
  void Worker(const std::string& id, int devices) {
    PlacementWorker worker{id, {"tiny"}, {}, {}};
    for (int i = 0; i < devices; ++i) worker.devices.push_back({absl::StrCat("cpu:", i), "cpu"});
    workers_.push_back(worker);
  }
  void Job(const std::string& id, const std::string& queue, int devices = 1, int priority = 0) {
    PlacementRequest job;
    job.id = Keep(id);
    job.queue = Keep(queue);
    job.priority = priority;
    job.order = static_cast<int64_t>(jobs_.size()) + 1;
    job.base_model = "tiny";
    job.device_kind = "cpu";
    job.device_count = devices;
    jobs_.push_back(job);
  }
  RunningJob& Runs(const std::string& id, const std::string& queue, const std::string& worker,
                   int devices = 1, absl::Duration unsaved = absl::Minutes(1)) {
    RunningJob job;
    job.id = id;
    job.queue = queue;
    job.worker = worker;
    job.device_kind = "cpu";
    job.device_count = devices;
    job.unsaved = unsaved;
    job.run_time = absl::Hours(1);
    running_.push_back(job);
    for (PlacementWorker& candidate : workers_) {
      if (candidate.id != worker) continue;
      int left = devices;
      for (auto& device : candidate.devices) {
        if (left == 0) break;
        if (std::exchange(device.used, true)) continue;
        --left;
      }
    }
    return running_.back();
  }
  // Speaks of what was asked until the next call.
  PlacementPlan Plan() {
    input_.jobs = jobs_;
    input_.workers = workers_;
    input_.running = running_;
    input_.queues = &config_;
    input_.usage = usage_;
    return PlanPlacement(input_);
  }
  static Map Placed(const PlacementPlan& plan) {
    Map places;
    for (const PlacedJob& job : plan.placed) places[std::string(job.job)] = job.worker;
    return places;
  }
  static Map Waiting(const PlacementPlan& plan) {
    Map reasons;
    for (const WaitingJob& job : plan.waiting) {
      reasons[std::string(job.job)] = absl::StrCat(WaitReasonCode(job.reason), " ", job.jobs_ahead);
    }
    return reasons;
  }
  static Map Preempted(const PlacementPlan& plan) {
    Map victims;
    for (const PreemptedJob& job : plan.preempted) {
      victims[std::string(job.job)] = std::string(job.in_favor_of);
    }
    return victims;
  }

  QueuesConfig config_;
  std::vector<PlacementWorker> workers_;
  std::vector<PlacementRequest> jobs_;
  std::vector<RunningJob> running_;
  std::map<std::string, double, std::less<>> usage_;

 private:
  absl::string_view Keep(const std::string& text) { return *texts_.insert(text).first; }
  std::set<std::string> texts_;
  PlacementInput input_;
};

TEST_F(QueuePlacementTest, QueueUsesItsQuotaAndWhatItMayBorrow) {
  Queue("a", 2, 1);
  Worker("w", 8);
  for (int i = 0; i < 5; ++i) Job(absl::StrCat("a", i), "a");
  const PlacementPlan plan = Plan();
  EXPECT_EQ(Placed(plan), (Map{{"a0", "w"}, {"a1", "w"}, {"a2", "w"}}));
  EXPECT_EQ(Waiting(plan), (Map{{"a3", "WAITING_FOR_QUOTA 0"}, {"a4", "WAITING_FOR_QUOTA 1"}}));
}

TEST_F(QueuePlacementTest, WithoutABorrowingLimitAQueueTakesWhatIsFree) {
  Queue("a", 1);
  Worker("w", 3);
  for (int i = 0; i < 4; ++i) Job(absl::StrCat("a", i), "a");
  EXPECT_EQ(Placed(Plan()).size(), 3u);
}

TEST_F(QueuePlacementTest, JobBeyondEveryQuotaHoldsNobodyBack) {
  Queue("a", 1, 1);
  Worker("w", 8);
  Job("big", "a", 3);
  Job("small", "a", 2);
  const PlacementPlan plan = Plan();
  EXPECT_EQ(Waiting(plan), (Map{{"big", "QUOTA_TOO_SMALL 0"}}));
  EXPECT_EQ(Placed(plan), (Map{{"small", "w"}}));
}

TEST_F(QueuePlacementTest, SmallJobDoesNotOvertakeOneThatWaitsForTheQuota) {
  Queue("a", 4, 0);
  Worker("w", 8);
  Runs("r", "a", "w", 2);
  Job("big", "a", 4);
  Job("small", "a", 1);
  EXPECT_EQ(Waiting(Plan()),
            (Map{{"big", "WAITING_FOR_QUOTA 0"}, {"small", "WAITING_FOR_QUOTA 1"}}));
}

TEST_F(QueuePlacementTest, ABlockedQueueDoesNotKeepDevicesFromAnother) {
  Queue("a", 1, 0);
  Worker("w", 2);
  Runs("r", "a", "w");
  Job("more-a", "a");
  Job("b", "default");
  EXPECT_EQ(Placed(Plan()), (Map{{"b", "w"}}));
}

TEST_F(QueuePlacementTest, EntitledJobsComeBeforeThoseThatBorrow) {
  Queue("a", 0);
  Queue("b", 1);
  Worker("w", 1);
  Job("borrower", "a", 1, 1000);
  Job("entitled", "b");
  usage_["b"] = 1e9;
  EXPECT_EQ(Placed(Plan()), (Map{{"entitled", "w"}}));
}

TEST_F(QueuePlacementTest, AmongEqualsTheQueueWithLessWeightedUsageComesFirst) {
  Queue("a", 0);
  Queue("b", 0).weight = 10.0;
  Worker("w", 1);
  Job("of-a", "a");
  Job("of-b", "b");
  usage_ = {{"a", 1000.0}, {"b", 5000.0}};
  EXPECT_EQ(Placed(Plan()), (Map{{"of-b", "w"}}));
  usage_["b"] = 20'000.0;
  EXPECT_EQ(Placed(Plan()), (Map{{"of-a", "w"}}));
}

TEST_F(QueuePlacementTest, ABurstOfOneQueueLeavesTurnsToTheOthers) {
  Queue("a", 0);
  Queue("b", 0);
  Worker("w", 4);
  for (int i = 0; i < 4; ++i) Job(absl::StrCat("a", i), "a");
  for (int i = 0; i < 4; ++i) Job(absl::StrCat("b", i), "b");
  EXPECT_EQ(Placed(Plan()), (Map{{"a0", "w"}, {"a1", "w"}, {"b0", "w"}, {"b1", "w"}}));
}

TEST_F(QueuePlacementTest, NominalQuotaIsTakenBackWhereTheLeastWorkIsLost) {
  Queue("a", 2);
  Queue("b", 2);
  Worker("w", 4);
  Runs("old", "a", "w", 1, absl::Minutes(50));
  Runs("saved", "a", "w", 1, absl::Minutes(2));
  Runs("new", "a", "w", 2, absl::Minutes(5));
  Job("mine", "b", 1);
  const PlacementPlan plan = Plan();
  EXPECT_EQ(Preempted(plan), (Map{{"saved", "mine"}}));
  EXPECT_EQ(Waiting(plan), (Map{{"mine", "WAITING_FOR_DEVICES 0"}}));
}

TEST_F(QueuePlacementTest, NoVictimIsTakenThatTurnsOutToBeNeedless) {
  Queue("b", 4);
  Worker("w", 5);
  Runs("small", "default", "w", 1, absl::Minutes(1));
  Runs("large", "default", "w", 4, absl::Minutes(10));
  Job("mine", "b", 4);
  EXPECT_EQ(Preempted(Plan()), (Map{{"large", "mine"}}));
}

TEST_F(QueuePlacementTest, TheWorkerWithTheLeastLossMakesRoom) {
  Queue("b", 2);
  Worker("v", 2);
  Worker("w", 2);
  Runs("v0", "default", "v", 2, absl::Minutes(10));
  Runs("w0", "default", "w", 1, absl::Minutes(8));
  Runs("w1", "default", "w", 1, absl::Minutes(8));
  Job("mine", "b", 2);
  EXPECT_EQ(Preempted(Plan()), (Map{{"w0", "mine"}, {"w1", "mine"}}));
}

TEST_F(QueuePlacementTest, WhileTheVictimsLeaveNobodyElseIsAskedAndTheirDevicesAreKept) {
  Queue("b", 2);
  Worker("v", 2);
  Worker("w", 2);
  Runs("v0", "default", "v", 2);
  Runs("w0", "default", "w", 1).leaving = true;
  Runs("w1", "default", "w", 1).leaving = true;
  Job("mine", "b", 2);
  EXPECT_THAT(Preempted(Plan()), IsEmpty());
  // One has left: its device waits for the other's.
  running_.pop_back();
  workers_[1].devices[1].used = false;
  Job("small", "default", 1, 1000);
  const PlacementPlan plan = Plan();
  EXPECT_THAT(Placed(plan), IsEmpty());
  EXPECT_THAT(Preempted(plan), IsEmpty());
}

TEST_F(QueuePlacementTest, AQueueWithinItsNominalQuotaGivesNothingBack) {
  Queue("a", 2);
  Queue("b", 2);
  Worker("w", 2);
  Runs("a0", "a", "w", 2);
  Job("mine", "b", 2);
  EXPECT_THAT(Preempted(Plan()), IsEmpty());
}

TEST_F(QueuePlacementTest, OnlyWhatIsBorrowedIsTakenBack) {
  Queue("a", 1);
  Queue("b", 3);
  Worker("w", 3);
  Runs("a0", "a", "w");
  Runs("a1", "a", "w");
  Runs("a2", "a", "w");
  Job("two", "b", 2);
  EXPECT_EQ(Preempted(Plan()), (Map{{"a0", "two"}, {"a1", "two"}}));
  jobs_.clear();
  Job("three", "b", 3);
  EXPECT_THAT(Preempted(Plan()), IsEmpty());
}

TEST_F(QueuePlacementTest, ABorrowerTakesNothingBack) {
  Queue("b", 1);
  Worker("w", 2);
  Runs("r", "default", "w", 2);
  Job("mine", "b", 2);
  EXPECT_THAT(Preempted(Plan()), IsEmpty());
}

TEST_F(QueuePlacementTest, ReclaimCanBeSwitchedOff) {
  Queue("b", 1);
  config_.reclaim = false;
  Worker("w", 1);
  Runs("r", "default", "w");
  Job("mine", "b");
  EXPECT_THAT(Preempted(Plan()), IsEmpty());
}

TEST_F(QueuePlacementTest, YoungAttemptsAreSparedAndTheirTimeIsTold) {
  Queue("b", 1);
  config_.min_run_time = absl::Minutes(10);
  Worker("w", 1);
  Runs("r", "default", "w").run_time = absl::Minutes(4);
  Job("mine", "b");
  const PlacementPlan plan = Plan();
  EXPECT_THAT(Preempted(plan), IsEmpty());
  EXPECT_EQ(plan.retry_after, absl::Minutes(6));
}

TEST_F(QueuePlacementTest, LowerPriorityMakesRoomOnlyWhereTheQueueSaysSo) {
  QueueConfig& queue = Queue("a", 0);
  Worker("w", 2);
  Runs("low", "a", "w").priority = -5;
  Runs("same", "a", "w").priority = 3;
  Job("mine", "a", 1, 3);
  EXPECT_THAT(Preempted(Plan()), IsEmpty());
  queue.preempt_lower_priority = true;
  EXPECT_EQ(Preempted(Plan()), (Map{{"low", "mine"}}));
}

TEST_F(QueuePlacementTest, LowerPriorityMakesRoomInTheQuotaToo) {
  Queue("a", 1, 0).preempt_lower_priority = true;
  Worker("w", 4);
  Runs("low", "a", "w").priority = -5;
  Runs("other", "default", "w", 1, absl::ZeroDuration()).priority = -1000;
  Job("mine", "a", 1, 3);
  const PlacementPlan plan = Plan();
  EXPECT_EQ(Preempted(plan), (Map{{"low", "mine"}}));
  EXPECT_EQ(Waiting(plan), (Map{{"mine", "WAITING_FOR_QUOTA 0"}}));
}

TEST_F(QueuePlacementTest, SeveralEntitledJobsMakeRoomInOnePassWithinTheirQuota) {
  Queue("b", 2);
  Worker("w", 4);
  for (int i = 0; i < 4; ++i) Runs(absl::StrCat("r", i), "default", "w");
  for (int i = 0; i < 3; ++i) Job(absl::StrCat("b", i), "b");
  EXPECT_EQ(Preempted(Plan()), (Map{{"r0", "b0"}, {"r1", "b1"}}));
}

TEST_F(QueuePlacementTest, WaitingJobsAreListedInTheOrderOfPlacement) {
  Queue("a", 0);
  Queue("b", 1);
  Worker("w", 1);
  Runs("r", "b", "w");
  usage_ = {{"a", 10.0}, {"b", 20.0}, {"default", 5.0}};
  Job("b0", "b");
  Job("a0", "a");
  Job("d0", "default");
  Job("a1", "a", 1, 7);
  std::vector<std::string> order;
  for (const WaitingJob& job : Plan().waiting) order.emplace_back(job.job);
  EXPECT_THAT(order, ElementsAre("d0", "a1", "a0", "b0"));
}

// One random world: jobs come, are placed, run for a while, leave when asked to, and end.
class RandomWorld {
 public:
  explicit RandomWorld(uint32_t seed) : random_(seed) {
    config_.min_run_time = absl::Minutes(Upto(3));
    for (const char* name : {"a", "b", "default"}) {
      QueueConfig& queue = config_.queues[name];
      queue.quotas["cpu"].nominal = Upto(5);
      if (Upto(2) == 0) queue.quotas["cpu"].borrowing_limit = Upto(5);
      queue.weight = 1.0 + Upto(3);
      queue.preempt_lower_priority = Upto(2) == 0;
    }
    for (int i = 0; i < 1 + Upto(3); ++i) {
      PlacementWorker worker{absl::StrCat("w", i), {"tiny"}, {}, {}};
      for (int d = 0; d < 1 + Upto(6); ++d)
        worker.devices.push_back({absl::StrCat("cpu:", d), "cpu"});
      workers_.push_back(worker);
    }
  }

  void Come() {
    Entry entry;
    entry.id = absl::StrCat("j", ++count_);
    entry.queue = std::vector<std::string>{"a", "b", "default"}[Upto(3)];
    entry.priority = Upto(3);
    entry.order = count_;
    entry.devices = 1 + Upto(4);
    entry.work = 1 + Upto(6);
    entries_[entry.id] = entry;
  }

  // One pass and a minute; false: an invariant does not hold.
  void Minute() {
    PlacementInput input;
    input.workers = workers_;
    input.queues = &config_;
    for (const auto& [id, entry] : entries_) {
      if (entry.worker.empty()) {
        PlacementRequest job;
        job.id = id;
        job.queue = entry.queue;
        job.priority = entry.priority;
        job.order = entry.order;
        job.base_model = "tiny";
        job.device_kind = "cpu";
        job.device_count = entry.devices;
        input.jobs.push_back(job);
      } else {
        RunningJob job;
        job.id = id;
        job.queue = entry.queue;
        job.priority = entry.priority;
        job.worker = entry.worker;
        job.device_kind = "cpu";
        job.device_count = entry.devices;
        job.leaving = entry.leaving;
        job.unsaved = absl::Minutes(entry.ran);
        job.run_time = absl::Minutes(entry.ran);
        input.running.push_back(job);
      }
    }
    const PlacementPlan plan = PlanPlacement(input);
    EXPECT_EQ(plan.placed.size() + plan.waiting.size(), input.jobs.size());
    for (const PreemptedJob& victim : plan.preempted) {
      Entry& entry = entries_.at(std::string(victim.job));
      EXPECT_FALSE(entry.leaving) << "asked twice";
      EXPECT_GE(absl::Minutes(entry.ran), config_.min_run_time);
      entry.leaving = true;
    }
    for (const PlacedJob& placed : plan.placed) {
      Entry& entry = entries_.at(std::string(placed.job));
      entry.worker = placed.worker;
      entry.ran = 0;
      entry.ids = placed.device_ids;
      EXPECT_EQ(static_cast<int>(placed.device_ids.size()), entry.devices);
      for (const std::string& id : placed.device_ids)
        EXPECT_FALSE(std::exchange(Used(entry, id), true));
    }
    for (const auto& [name, queue] : config_.queues) {
      int used = 0;
      for (const auto& [id, entry] : entries_) {
        if (entry.queue == name && !entry.worker.empty()) used += entry.devices;
      }
      if (queue.LimitOf("cpu").has_value()) EXPECT_LE(used, *queue.LimitOf("cpu")) << name;
    }
    Work();
  }

  // Jobs that can run at all and have not.
  int Unfinished() const {
    int jobs = 0;
    for (const auto& [id, entry] : entries_) jobs += Possible(entry) ? 1 : 0;
    return jobs;
  }
  int Upto(int n) { return static_cast<int>(random_() % static_cast<uint32_t>(n)); }

 private:
  struct Entry {
    std::string id, queue, worker;
    int priority = 0;
    int64_t order = 0;
    int devices = 1;
    int work = 1;  // minutes left
    int ran = 0;
    bool leaving = false;
    std::vector<std::string> ids;
  };

  bool& Used(const Entry& entry, const std::string& device) {
    for (PlacementWorker& worker : workers_) {
      if (worker.id != entry.worker) continue;
      for (auto& state : worker.devices) {
        if (state.id == device) return state.used;
      }
    }
    ADD_FAILURE() << "no such device";
    return workers_[0].devices[0].used;
  }
  bool Possible(const Entry& entry) const {
    const std::optional<int32_t> limit = config_.Find(entry.queue)->LimitOf("cpu");
    if (limit.has_value() && *limit < entry.devices) return false;
    return std::any_of(workers_.begin(), workers_.end(), [&](const PlacementWorker& worker) {
      return static_cast<int>(worker.devices.size()) >= entry.devices;
    });
  }
  void Work() {
    for (auto i = entries_.begin(); i != entries_.end();) {
      Entry& entry = i->second;
      if (entry.worker.empty()) {
        ++i;
        continue;
      }
      ++entry.ran;
      --entry.work;  // a preempted job made a checkpoint: nothing is lost
      const bool done = entry.work <= 0;
      if (done || (entry.leaving && Upto(2) == 0)) {
        for (const std::string& id : entry.ids) Used(entry, id) = false;
        entry.worker.clear();
        entry.leaving = false;
      }
      i = done ? entries_.erase(i) : std::next(i);
    }
  }

  std::mt19937 random_;
  QueuesConfig config_;
  std::vector<PlacementWorker> workers_;
  std::map<std::string, Entry> entries_;
  int64_t count_ = 0;
};

TEST(QueuePlacementRandomTest, QuotasHoldAndEveryJobThatCanRunDoes) {
  for (uint32_t seed = 0; seed < 300; ++seed) {
    SCOPED_TRACE(absl::StrCat("seed ", seed));
    RandomWorld world(seed);
    for (int minute = 0; minute < 40; ++minute) {
      if (world.Upto(3) > 0) world.Come();
      world.Minute();
    }
    int minutes = 0;
    while (world.Unfinished() > 0 && minutes < 1000) {
      world.Minute();
      ++minutes;
    }
    EXPECT_EQ(world.Unfinished(), 0);
    if (::testing::Test::HasFailure()) return;
  }
}

}  // namespace
}  // namespace longlora::server
