// Goal: jobs go where they fit, in order, and each that waits is told why.
// Method: small clusters as values; one case a rule, then random clusters against the invariants.
#include "server/scheduler/placement.h"

#include <map>
#include <random>
#include <set>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace longlora::server {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

PlacementWorker MakeWorker(const std::string& id, int devices, int used = 0,
                           std::vector<std::string> models = {"tiny"},
                           const std::string& kind = "cpu") {
  PlacementWorker worker{id, std::move(models), {}, {}};
  for (int i = 0; i < devices; ++i)
    worker.devices.push_back({absl::StrCat(kind, ":", i), kind, i < used});
  return worker;
}

PlacementRequest MakeJob(absl::string_view id, int64_t order, int devices = 1, int priority = 0) {
  PlacementRequest job;
  job.id = id;
  job.order = order;
  job.priority = priority;
  job.base_model = "tiny";
  job.device_kind = "cpu";
  job.device_count = devices;
  return job;
}

PlacementPlan Plan(std::vector<PlacementRequest> jobs, std::vector<PlacementWorker> workers) {
  static const QueuesConfig kOneQueue;
  PlacementInput input;
  input.jobs = std::move(jobs);
  input.workers = std::move(workers);
  input.queues = &kOneQueue;
  return PlanPlacement(input);
}

std::map<std::string, std::string> PlacesOf(const PlacementPlan& plan) {
  std::map<std::string, std::string> places;
  for (const PlacedJob& placed : plan.placed) places[std::string(placed.job)] = placed.worker;
  return places;
}

std::map<std::string, std::string> ReasonsOf(const PlacementPlan& plan) {
  std::map<std::string, std::string> reasons;
  for (const WaitingJob& waiting : plan.waiting) {
    reasons[std::string(waiting.job)] =
        absl::StrCat(WaitReasonCode(waiting.reason), " ", waiting.jobs_ahead);
  }
  return reasons;
}

using Map = std::map<std::string, std::string>;

TEST(PlacementTest, HigherPriorityThenOlderComesFirst) {
  const PlacementPlan plan = Plan({MakeJob("old", 1), MakeJob("young", 3),
                                   MakeJob("urgent", 4, 1, 5), MakeJob("low", 2, 1, -1)},
                                  {MakeWorker("a", 2)});
  ASSERT_THAT(plan.placed, SizeIs(2));
  EXPECT_EQ(plan.placed[0].job, "urgent");
  EXPECT_EQ(plan.placed[1].job, "old");
  EXPECT_EQ(ReasonsOf(plan),
            (Map{{"young", "WAITING_FOR_DEVICES 0"}, {"low", "WAITING_FOR_DEVICES 1"}}));
}

TEST(PlacementTest, AllDevicesOfAJobLieOnOneWorker) {
  const PlacementPlan plan =
      Plan({MakeJob("big", 1, 4)}, {MakeWorker("a", 4, 1), MakeWorker("b", 4, 2)});
  EXPECT_THAT(plan.placed, IsEmpty());  // five devices are free, but not four together
  EXPECT_EQ(ReasonsOf(plan), (Map{{"big", "WAITING_FOR_DEVICES 0"}}));
}

TEST(PlacementTest, GetsFreeDevicesInTheirOrder) {
  const PlacementPlan plan = Plan({MakeJob("one", 1, 2)}, {MakeWorker("a", 4, 1)});
  ASSERT_THAT(plan.placed, SizeIs(1));
  EXPECT_THAT(plan.placed[0].device_ids, ElementsAre("cpu:1", "cpu:2"));
}

TEST(PlacementTest, LabelsChooseTheWorker) {
  PlacementRequest job = MakeJob("one", 1);
  job.worker_labels = {"gpu=h100"};
  PlacementWorker labelled = MakeWorker("b", 4);
  labelled.labels = {"gpu=h100", "zone=a"};
  EXPECT_EQ(PlacesOf(Plan({job}, {MakeWorker("a", 1), labelled})), (Map{{"one", "b"}}));
}

TEST(PlacementTest, TightestWorkerIsTaken) {
  const PlacementPlan plan = Plan({MakeJob("small", 1, 1), MakeJob("big", 2, 4)},
                                  {MakeWorker("a", 4), MakeWorker("b", 4, 3)});
  EXPECT_EQ(PlacesOf(plan), (Map{{"small", "b"}, {"big", "a"}}));
}

TEST(PlacementTest, EqualWorkersAreTakenByName) {
  const PlacementPlan plan = Plan({MakeJob("one", 1)}, {MakeWorker("b", 1), MakeWorker("a", 1)});
  EXPECT_EQ(PlacesOf(plan), (Map{{"one", "a"}}));
}

TEST(PlacementTest, EachObstacleHasItsReason) {
  PlacementRequest other_model = MakeJob("model", 1);
  other_model.base_model = "huge";
  PlacementRequest other_kind = MakeJob("kind", 2);
  other_kind.device_kind = "cuda";
  PlacementRequest back_off = MakeJob("back-off", 3);
  back_off.backing_off = true;
  PlacementRequest adapter = MakeJob("adapter", 4);
  adapter.initial_adapter = "/adapters/x";
  const PlacementPlan plan = Plan(
      {other_model, other_kind, back_off, adapter, MakeJob("too-big", 5, 9), MakeJob("fits", 6)},
      {MakeWorker("a", 8)});
  EXPECT_EQ(ReasonsOf(plan), (Map{{"model", "NO_MODEL 0"},
                                  {"kind", "NO_DEVICES 0"},
                                  {"back-off", "BACK_OFF 0"},
                                  {"adapter", "NO_MODEL 1"},
                                  {"too-big", "NO_DEVICES 1"}}));
  EXPECT_EQ(PlacesOf(plan), (Map{{"fits", "a"}}));
  PlacementRequest labelled = MakeJob("labelled", 1);
  labelled.worker_labels = {"gpu=h100", "zone=a"};
  PlacementWorker half = MakeWorker("b", 8);
  half.labels = {"gpu=h100"};
  EXPECT_EQ(ReasonsOf(Plan({labelled}, {half})), (Map{{"labelled", "NO_MODEL 0"}}));
  PlacementRequest no_queue = MakeJob("no-queue", 1);
  no_queue.queue = "gone";
  EXPECT_EQ(ReasonsOf(Plan({no_queue}, {half})), (Map{{"no-queue", "NO_QUEUE 0"}}));
  EXPECT_EQ(ReasonsOf(Plan({MakeJob("one", 1), MakeJob("two", 2)}, {})),
            (Map{{"one", "NO_WORKER 0"}, {"two", "NO_WORKER 1"}}));
}

TEST(PlacementTest, WaitingJobIsNotStarvedBySmallerOnesBehind) {
  // One device is free and the head needs two: the free one is kept for it.
  const PlacementPlan plan =
      Plan({MakeJob("head", 1, 2), MakeJob("small", 2, 1)}, {MakeWorker("a", 2, 1)});
  EXPECT_THAT(plan.placed, IsEmpty());
  EXPECT_EQ(ReasonsOf(plan),
            (Map{{"head", "WAITING_FOR_DEVICES 0"}, {"small", "WAITING_FOR_DEVICES 1"}}));
}

TEST(PlacementTest, OnlyTheNearestWorkerIsReserved) {
  const PlacementPlan plan = Plan({MakeJob("head", 1, 4), MakeJob("small", 2, 1)},
                                  {MakeWorker("a", 4, 3), MakeWorker("b", 4, 1)});
  EXPECT_EQ(PlacesOf(plan), (Map{{"small", "a"}}));  // b is nearer to four
}

TEST(PlacementTest, JobsThatCompeteForTheSameWorkersReserveOne) {
  const PlacementPlan plan =
      Plan({MakeJob("first", 1, 4), MakeJob("second", 2, 3), MakeJob("small", 3, 1)},
           {MakeWorker("a", 4, 3), MakeWorker("b", 4, 2)});
  EXPECT_EQ(PlacesOf(plan), (Map{{"small", "a"}}));
}

TEST(PlacementTest, JobForOtherWorkersReservesItsOwn) {
  PlacementRequest other = MakeJob("other", 2, 2);
  other.base_model = "huge";
  PlacementRequest small = MakeJob("small", 3, 1);
  small.base_model = "huge";
  const PlacementPlan plan = Plan({MakeJob("head", 1, 2), other, small},
                                  {MakeWorker("a", 2, 1), MakeWorker("b", 2, 1, {"huge"})});
  EXPECT_THAT(plan.placed, IsEmpty());
}

TEST(PlacementTest, UnplaceableJobHoldsNobodyBack) {
  const PlacementPlan plan =
      Plan({MakeJob("impossible", 1, 9), MakeJob("small", 2, 1)}, {MakeWorker("a", 2)});
  EXPECT_EQ(PlacesOf(plan), (Map{{"small", "a"}}));
}

TEST(PlacementTest, BigJobIsPlacedInTheEndThoughSmallOnesNeverStopComing) {
  // Each round one small job ends and a new one arrives.
  PlacementWorker worker = MakeWorker("a", 2, 2);
  bool placed = false;
  for (int round = 0; round < 3 && !placed; ++round) {
    for (auto& device : worker.devices) {
      if (device.used) {
        device.used = false;
        break;
      }
    }
    const PlacementPlan plan =
        Plan({MakeJob("big", 1, 2), MakeJob("small", 10 + round, 1)}, {worker});
    for (const PlacedJob& job : plan.placed) {
      placed = placed || job.job == "big";
      for (auto& device : worker.devices)
        device.used = device.used || device.id == job.device_ids[0];
    }
  }
  EXPECT_TRUE(placed);
}

TEST(PlacementTest, RandomClustersNeverShareADeviceNorLoseAJob) {
  for (uint32_t seed = 0; seed < 300; ++seed) {
    std::mt19937 random(seed);
    const auto upto = [&](int n) { return static_cast<int>(random() % static_cast<uint32_t>(n)); };
    std::vector<PlacementWorker> workers;
    for (int i = 0; i < 1 + upto(4); ++i) {
      const int devices = 1 + upto(8);
      workers.push_back(MakeWorker(absl::StrCat("w", i), devices, upto(devices + 1)));
    }
    std::vector<std::string> names;
    for (int i = 0; i < 20; ++i) names.push_back(absl::StrCat("j", i));
    std::vector<PlacementRequest> jobs;
    for (int i = 0; i < 20; ++i) jobs.push_back(MakeJob(names[i], i + 1, 1 + upto(8), upto(3)));
    const PlacementPlan plan = Plan(jobs, workers);

    std::set<std::pair<std::string, std::string>> taken;
    for (const PlacementWorker& worker : workers) {
      for (const auto& device : worker.devices) {
        if (device.used) taken.insert({worker.id, device.id});
      }
    }
    std::set<std::string> seen;
    for (const PlacedJob& placed : plan.placed) {
      EXPECT_TRUE(seen.insert(std::string(placed.job)).second) << "seed " << seed;
      for (const std::string& device : placed.device_ids) {
        EXPECT_TRUE(taken.insert({placed.worker, device}).second) << "seed " << seed;
      }
    }
    for (const WaitingJob& waiting : plan.waiting)
      EXPECT_TRUE(seen.insert(std::string(waiting.job)).second);
    EXPECT_EQ(seen.size(), jobs.size()) << "seed " << seed;
  }
}

TEST(PlacementTest, ModelIsANameOrAPathBelowARoot) {
  const std::vector<std::string> models = {"tiny", "org/model"};
  const std::vector<std::string> roots = {"/data/models", "/mnt/"};
  for (const char* good : {"tiny", "org/model", "/data/models/x", "/data/models", "/mnt/a/b"}) {
    EXPECT_TRUE(CanRead(good, models, roots)) << good;
  }
  for (const char* bad :
       {"", "tin", "x", "/data/models-secret/x", "/data", "/", "/mnt/../etc/passwd",
        "/data/models/../x", "s3://bucket/x", "data/models/x"}) {
    EXPECT_FALSE(CanRead(bad, models, roots)) << bad;
  }
  EXPECT_FALSE(CanRead("/etc", models, {""}));
}

TEST(PlacementTest, DefaultsOfASpecAreOneCudaDevice) {
  v1::FineTuneSpec spec;
  EXPECT_EQ(DeviceKindOf(spec), "cuda");
  EXPECT_EQ(DeviceCountOf(spec), 1);
  EXPECT_EQ(QueueOf(spec), "default");
}

}  // namespace
}  // namespace longlora::server
