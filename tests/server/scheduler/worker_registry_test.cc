// Goal: a name belongs to one live process, leases lapse by the monotonic clock, and nonsense is
// refused. Method: reports by hand against one registry.
#include "server/scheduler/worker_registry.h"

#include "tests/server/scheduler/scheduler_fixture.h"

namespace longlora::server {
namespace {

common::MonotonicTime At(int seconds) { return common::MonotonicTime(absl::Seconds(seconds)); }
const absl::Time kDate = absl::FromUnixSeconds(1'700'000'000);

absl::StatusOr<WorkerRegistry::Accepted> Report(WorkerRegistry& registry, FakeWorker& worker,
                                                int lease_end = 30, absl::Time date = kDate) {
  return registry.Report(worker.report(), date, At(lease_end), absl::Hours(1));
}

TEST(WorkerRegistryTest, LeaseLapsesAtItsEndAndAReportRenewsIt) {
  WorkerRegistry registry;
  FakeWorker worker("a", 1);
  ASSERT_OK(Report(registry, worker, 30));
  EXPECT_FALSE(registry.Expire(At(29)));
  ASSERT_OK(Report(registry, worker, 59));
  EXPECT_FALSE(registry.Expire(At(30)));
  EXPECT_TRUE(registry.Expire(At(59)));
  EXPECT_FALSE(registry.Find("a")->connected);
  EXPECT_FALSE(registry.Expire(At(60)));  // once
}

TEST(WorkerRegistryTest, NewProcessTakesTheNameOverAndTheOldOneIsRefused) {
  WorkerRegistry registry;
  FakeWorker old_process("a", 1);
  ASSERT_OK(Report(registry, old_process));
  FakeWorker new_process("a", 1);
  new_process.Restart("second");
  ASSERT_OK(Report(registry, new_process));
  EXPECT_EQ(ReasonOf(Report(registry, old_process)), "WORKER_NAME_TAKEN");
  EXPECT_OK(Report(registry, new_process));
}

// As after a stop of the server, when what lay in its sockets is done in any order. Found by
// tests/simulation: the older report did not know of an attempt that ran by then.
TEST(WorkerRegistryTest, ReportThatALaterOneHasOvertakenIsRefused) {
  WorkerRegistry registry;
  FakeWorker worker("a", 1);
  worker.report().set_number(2);
  ASSERT_OK(Report(registry, worker));
  worker.report().set_number(1);
  EXPECT_EQ(ReasonOf(Report(registry, worker)), "REPORT_OUTDATED");
  worker.report().set_number(2);
  EXPECT_EQ(ReasonOf(Report(registry, worker)), "REPORT_OUTDATED");
  worker.report().set_number(3);
  EXPECT_OK(Report(registry, worker));
  worker.report().set_number(0);  // of before there were numbers
  EXPECT_OK(Report(registry, worker));
}

// A process that is dead may still be heard of. Found by tests/simulation: its report ended what
// the process after it ran.
TEST(WorkerRegistryTest, ProcessThatDoesNotAnswerTakesNoNameOver) {
  WorkerRegistry registry;
  FakeWorker living("a", 1);
  living.report().set_number(1);
  ASSERT_OK(Report(registry, living));
  FakeWorker dead("a", 1);
  dead.Restart("dead");
  for (const int64_t number : {1, 2, 3}) {
    dead.report().set_number(number);
    EXPECT_EQ(ReasonOf(Report(registry, dead)), "REPORT_UNCONFIRMED");
  }
  living.report().set_number(2);
  EXPECT_OK(Report(registry, living));

  FakeWorker next("a", 1);
  next.Restart("next");
  const auto confirm = [&](FakeWorker& worker) {
    const absl::Status refused = Report(registry, worker).status();
    EXPECT_EQ(ReasonOf(refused), "REPORT_UNCONFIRMED");
    worker.report().set_number(std::stoll(rpc::GetErrorDetails(refused).metadata["number"]) + 1);
  };
  next.report().set_number(1);
  confirm(next);
  // What is told to one is of no use once another came.
  dead.report().set_number(4);
  confirm(dead);
  EXPECT_EQ(ReasonOf(Report(registry, next)), "REPORT_UNCONFIRMED");
  // Nor is it when its reports come again in their old order.
  for (const int64_t number : {int64_t{4}, dead.report().number()}) {
    dead.report().set_number(number);
    EXPECT_EQ(ReasonOf(Report(registry, dead)), "REPORT_UNCONFIRMED");
  }
  confirm(next);
  EXPECT_OK(Report(registry, next));
  EXPECT_EQ(ReasonOf(Report(registry, living)), "WORKER_NAME_TAKEN");
}

TEST(WorkerRegistryTest, OnlyNewsAndOldContactsAreStored) {
  WorkerRegistry registry;
  FakeWorker worker("a", 1);
  ASSERT_OK_AND_ASSIGN(const auto first, Report(registry, worker));
  EXPECT_TRUE(first.must_store && first.offers_changed);
  ASSERT_OK_AND_ASSIGN(const auto same, Report(registry, worker));
  EXPECT_FALSE(same.must_store || same.offers_changed);
  ASSERT_OK_AND_ASSIGN(const auto later, Report(registry, worker, 30, kDate + absl::Hours(1)));
  EXPECT_TRUE(later.must_store);
  EXPECT_FALSE(later.offers_changed);
  worker.report().add_models("another");
  ASSERT_OK_AND_ASSIGN(const auto changed, Report(registry, worker));
  EXPECT_TRUE(changed.must_store && changed.offers_changed);
}

TEST(WorkerRegistryTest, ForgetsOnlyLostWorkersThatHoldNothing) {
  WorkerRegistry registry;
  FakeWorker lost("lost", 1), holding("holding", 1), connected("connected", 1);
  ASSERT_OK(Report(registry, lost, 10));
  ASSERT_OK(Report(registry, holding, 10));
  ASSERT_OK(Report(registry, connected, 100));
  registry.Hold("holding", "job-1", {"cpu:0"});
  registry.Expire(At(10));
  EXPECT_THAT(registry.ForgetBefore(kDate), IsEmpty());
  EXPECT_THAT(registry.ForgetBefore(kDate + absl::Seconds(1)), ElementsAre("workers/lost"));
  EXPECT_EQ(registry.Find("lost"), nullptr);
  registry.Release("holding", "job-1");
  EXPECT_THAT(registry.ForgetBefore(kDate + absl::Seconds(1)), ElementsAre("workers/holding"));
}

TEST(WorkerRegistryTest, NonsenseIsRefusedAndNotRemembered) {
  const auto refused = [](auto change) {
    WorkerRegistry registry;
    FakeWorker worker("a", 2);
    change(worker.report());
    const bool invalid = ReasonOf(Report(registry, worker)) == "WORKER_INVALID";
    return invalid && registry.workers().empty();
  };
  EXPECT_TRUE(refused([](auto& r) { r.set_worker(""); }));
  EXPECT_TRUE(refused([](auto& r) { r.set_worker("No Name"); }));
  EXPECT_TRUE(refused([](auto& r) { r.set_worker("a/b"); }));
  EXPECT_TRUE(refused([](auto& r) { r.set_incarnation(""); }));
  EXPECT_TRUE(refused([](auto& r) { r.set_incarnation(std::string(129, 'x')); }));
  EXPECT_TRUE(refused([](auto& r) { r.mutable_devices(1)->set_id("cpu:0"); }));
  EXPECT_TRUE(refused([](auto& r) { r.mutable_devices(0)->set_id(""); }));
  EXPECT_TRUE(refused([](auto& r) { r.mutable_devices(0)->set_kind("tpu"); }));
  EXPECT_TRUE(refused([](auto& r) {
    for (int i = 0; i < 10'001; ++i) r.add_models("m");
  }));
  // Texts of models: 64 KiB each, 1 MiB in all, and no more of them than models.
  const auto told = [](auto& r, int count, size_t bytes) {
    for (int i = 0; i < count; ++i) {
      r.add_models("m");
      r.add_model_configs()->set_config_json(std::string(bytes, 'x'));
    }
  };
  EXPECT_FALSE(refused([&](auto& r) { told(r, 16, 64 << 10); }));
  EXPECT_TRUE(refused([&](auto& r) { told(r, 1, (64 << 10) + 1); }));
  EXPECT_TRUE(refused([&](auto& r) { told(r, 17, 64 << 10); }));
  EXPECT_TRUE(refused([&](auto& r) {
    told(r, 1, 1);
    r.clear_models();
  }));
}

}  // namespace
}  // namespace longlora::server
