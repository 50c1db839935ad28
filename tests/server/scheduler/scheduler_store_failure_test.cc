// Goal: a store that refuses a change (disk full) leaves the scheduler as the store is, and nothing
// that was not stored is ever told to a worker or a user. Method: a store that fails on demand, in
// front of the real one.
#include <atomic>
#include <functional>
#include <thread>
#include <utility>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "tests/server/scheduler/scheduler_fixture.h"
#include "tests/server/store/forwarding_job_store.h"

namespace longlora::server {
namespace {

// Passes everything on; while `failing`, every job change is decided as a full disk would, and
// while `holding`, it is not decided until the test does so.
class FailingJobStore : public ForwardingJobStore {
 public:
  using ForwardingJobStore::ForwardingJobStore;
  bool failing = false;
  bool reads_fail = false;
  bool lost = false;
  bool holding = false;
  CommitTicket held;  // valid after has_held
  absl::Notification has_held;
  std::function<void()> on_confirm = [] {};  // called whenever a report is answered

  // While `keeping`, changes are kept for the test to store and to decide, in this order.
  std::atomic<bool> keeping = false;
  struct Kept {
    JobTransaction transaction;
    CommitTicket ticket;
  };
  Kept AwaitKept(size_t number) {
    absl::MutexLock lock(&mutex_);
    const auto is_there = [&]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return kept_.size() > number; };
    mutex_.Await(absl::Condition(&is_there));
    return kept_[number];
  }

  CommitTicket Enqueue(JobTransaction transaction) override {
    if (keeping) {
      absl::MutexLock lock(&mutex_);
      kept_.push_back({std::move(transaction), CommitTicket::Pending()});
      return kept_.back().ticket;
    }
    if (holding) {
      held = CommitTicket::Pending();
      has_held.Notify();
      return held;
    }
    if (failing) return CommitTicket(absl::ResourceExhaustedError("disk full"));
    return inner().Enqueue(std::move(transaction));
  }
  CommitTicket Confirm() override {
    on_confirm();
    if (lost) return CommitTicket(absl::FailedPreconditionError("another server has the store"));
    return inner().Confirm();
  }
  std::function<void()> on_read = [] {};  // called whenever a job is read

  absl::StatusOr<StoredJob> ReadJob(absl::string_view id) override {
    on_read();
    if (reads_fail) return absl::UnavailableError("the database is away");
    return inner().ReadJob(id);
  }

 private:
  absl::Mutex mutex_;
  std::vector<Kept> kept_ ABSL_GUARDED_BY(mutex_);
};

class SchedulerStoreFailureTest : public SchedulerTest {
 protected:
  void SetUp() override {
    SchedulerTest::SetUp();
    failing_ = std::make_unique<FailingJobStore>(*store_);
    ASSERT_OK_AND_ASSIGN(scheduler_,
                         Scheduler::Create(options_, {failing_.get(), &hub_, &clock_, &ids_}));
    Sync(worker_);
  }
  void TearDown() override { scheduler_.reset(); }
  std::unique_ptr<FailingJobStore> failing_;
  FakeWorker worker_{"a", 1};
};

TEST_F(SchedulerStoreFailureTest, RefusedSubmitLeavesNothingAndMayBeRepeated) {
  failing_->failing = true;
  EXPECT_THAT(scheduler_->Submit({MakeSpec(), "wish", false}),
              StatusIs(absl::StatusCode::kUnavailable, "disk full"));
  EXPECT_EQ(scheduler_->Snapshot().jobs_by_state.at(Job::QUEUED), 0);
  failing_->failing = false;
  const std::string job = Submit(MakeSpec(), "wish");
  EXPECT_EQ(StateOf(job), Job::QUEUED);
  EXPECT_EQ(Submit(MakeSpec(), "wish"), job);
}

TEST_F(SchedulerStoreFailureTest, UnstoredAssignmentReachesNoWorker) {
  const std::string job = Submit();
  failing_->failing = true;
  EXPECT_THAT(scheduler_->Synchronize(worker_.report()),
              StatusIs(absl::StatusCode::kUnavailable, ""));
  EXPECT_EQ(StateOf(job), Job::QUEUED);
  EXPECT_EQ(scheduler_->Snapshot().devices.at("cpu").used, 0);
  failing_->failing = false;
  clock_.Advance(options_.back_off.initial);
  const std::vector<Assignment> assignments = Sync(worker_);
  ASSERT_THAT(assignments, SizeIs(1));
  EXPECT_EQ(assignments[0].attempt(), 1);
  EXPECT_THAT(StateHistory(job), ElementsAre(Job::QUEUED, Job::PREPARING));
}

TEST_F(SchedulerStoreFailureTest, UnstoredEventsAreNotAcknowledgedAndComeAgain) {
  const std::string job = Submit();
  Sync(worker_);
  Accept(worker_, job, 1);
  auto events = MakeEvents("a", job, 1);
  AddPrepared(events, 1);
  AddStep(events, 2, 1);
  failing_->failing = true;
  EXPECT_THAT(scheduler_->RecordEvents(events), StatusIs(absl::StatusCode::kUnavailable, ""));
  EXPECT_EQ(StateOf(job), Job::PREPARING);
  failing_->failing = false;
  ASSERT_OK_AND_ASSIGN(const int64_t acknowledged, scheduler_->RecordEvents(events));
  EXPECT_EQ(acknowledged, 2);
  EXPECT_EQ(StateOf(job), Job::RUNNING);
  EXPECT_EQ(Get(job).progress().tokens(), 1000);
}

// As when a database is restarted: the change fails, and so does the attempt to see what became of
// it.
TEST_F(SchedulerStoreFailureTest, EventsComeAgainAfterAStoreThatWasAway) {
  const std::string job = Submit();
  Sync(worker_);
  Accept(worker_, job, 1);
  auto events = MakeEvents("a", job, 1);
  AddPrepared(events, 1);
  failing_->failing = failing_->reads_fail = true;
  EXPECT_THAT(scheduler_->RecordEvents(events), StatusIs(absl::StatusCode::kUnavailable, ""));
  scheduler_->Tick();
  EXPECT_THAT(scheduler_->RecordEvents(events), StatusIs(absl::StatusCode::kUnavailable, ""));
  failing_->failing = failing_->reads_fail = false;
  scheduler_->Tick();
  ASSERT_OK_AND_ASSIGN(const int64_t acknowledged, scheduler_->RecordEvents(events));
  EXPECT_EQ(acknowledged, 1);
  EXPECT_EQ(StateOf(job), Job::RUNNING);
}

// As of a connection that is lost in the middle of a commit: it was done, and so is what built on
// it. Found by tests/simulation: the devices of such a job were given away a second time.
TEST_F(SchedulerStoreFailureTest, ChangeThatWasStoredAfterAllTakesNothingBackThatBuildsOnIt) {
  failing_->keeping = true;
  std::thread user([&] { EXPECT_FALSE(scheduler_->Submit({MakeSpec(), "", false}).ok()); });
  const FailingJobStore::Kept created = failing_->AwaitKept(0);
  std::thread worker([&] { scheduler_->Synchronize(worker_.report()).IgnoreError(); });
  const FailingJobStore::Kept assigned = failing_->AwaitKept(1);
  ASSERT_OK(store_->Enqueue(created.transaction).Wait());
  created.ticket.Decide(absl::UnavailableError("connection lost"));
  while (scheduler_->Snapshot().counters.store_failures == 0) std::this_thread::yield();
  assigned.ticket.Decide(store_->Enqueue(assigned.transaction).Wait());
  user.join();
  worker.join();
  failing_->keeping = false;
  EXPECT_EQ(StateOf("fineTuneJobs/" + created.transaction.id), Job::PREPARING);
  EXPECT_EQ(scheduler_->Snapshot().devices.at("cpu").used, 1);
  ASSERT_THAT(Sync(worker_), SizeIs(1));
}

// Nothing has to be stored for this report, but an OK would renew the worker's lease.
TEST_F(SchedulerStoreFailureTest, ServerThatLostItsStoreRenewsNoLease) {
  failing_->lost = true;
  EXPECT_THAT(scheduler_->Synchronize(worker_.report()),
              StatusIs(absl::StatusCode::kUnavailable, "report again"));
}

TEST_F(SchedulerStoreFailureTest, UnstoredEndIsReportedAgain) {
  const std::string job = Submit();
  Sync(worker_);
  Accept(worker_, job, 1);
  ASSERT_OK(CommitResults(worker_, job, 1));
  worker_.Has(job, 1, AttemptStatus::SUCCEEDED);
  failing_->failing = true;
  // Were it OK without the attempt, the worker would forget its results.
  EXPECT_FALSE(scheduler_->Synchronize(worker_.report()).ok());
  failing_->failing = false;
  EXPECT_THAT(Sync(worker_), IsEmpty());
  EXPECT_EQ(StateOf(job), Job::SUCCEEDED);
}

TEST_F(SchedulerStoreFailureTest, RefusedCancelLeavesTheJobRunning) {
  const std::string job = Submit();
  Sync(worker_);
  failing_->failing = true;
  EXPECT_FALSE(scheduler_->Ask(JobTrigger::kCancel, job, "").ok());
  EXPECT_EQ(StateOf(job), Job::PREPARING);
  failing_->failing = false;
  ASSERT_OK_AND_ASSIGN(const Job cancelled, scheduler_->Ask(JobTrigger::kCancel, job, ""));
  EXPECT_EQ(cancelled.state(), Job::CANCELLING);
  EXPECT_GE(scheduler_->Snapshot().counters.store_failures, 1);
}

TEST_F(SchedulerStoreFailureTest, AnswerWaitsForChangesOfOtherCallersThatItRestsOn) {
  const std::string job = Submit();
  Sync(worker_);
  Accept(worker_, job, 1);
  // A user cancels, and the store takes its time.
  failing_->holding = true;
  std::thread user([&] { EXPECT_FALSE(scheduler_->Ask(JobTrigger::kCancel, job, "").ok()); });
  failing_->has_held.WaitForNotification();
  // The worker reports meanwhile. Only from when the store is asked for the answer, which is under
  // the lock under which it is worked out, the cancellation is refused.
  absl::Notification reporting;
  failing_->on_confirm = [&] { reporting.Notify(); };
  std::thread disk([&] {
    reporting.WaitForNotification();
    failing_->held.Decide(absl::ResourceExhaustedError("disk full"));
  });
  EXPECT_THAT(scheduler_->Synchronize(worker_.report()),
              StatusIs(absl::StatusCode::kUnavailable, "report again"));
  user.join();
  disk.join();
  failing_->holding = false;
  failing_->on_confirm = [] {};
  ASSERT_THAT(Sync(worker_), SizeIs(1));
  EXPECT_EQ(Sync(worker_)[0].desired(), Assignment::RUN);
}

TEST_F(SchedulerStoreFailureTest, AttemptIsNotCalledStaleForAnEndThatIsNotStored) {
  const std::string job = Submit();
  Sync(worker_);
  Accept(worker_, job, 1);
  worker_.Has(job, 1, AttemptStatus::FAILED, "WORKER_LOST");
  failing_->failing = failing_->reads_fail = true;
  EXPECT_FALSE(scheduler_->Synchronize(worker_.report()).ok());
  auto events = MakeEvents("a", job, 1);
  AddPrepared(events, 1);
  EXPECT_THAT(scheduler_->RecordEvents(events), StatusIs(absl::StatusCode::kUnavailable, ""));
  EXPECT_THAT(scheduler_->CheckAttempt("a", job, 1), StatusIs(absl::StatusCode::kUnavailable, ""));
  failing_->failing = failing_->reads_fail = false;
  scheduler_->Tick();
  EXPECT_OK(scheduler_->RecordEvents(events));
  EXPECT_THAT(Sync(worker_), IsEmpty());
  EXPECT_EQ(ReasonOf(scheduler_->RecordEvents(events)), "STALE_ATTEMPT");
}

TEST_F(SchedulerStoreFailureTest, WorkerIsNotToldWhatTheStoreHasRefusedAndIsNotYetTakenBack) {
  const std::string job = Submit();
  Sync(worker_);
  Accept(worker_, job, 1);
  worker_.Has(job, 1, AttemptStatus::FAILED, "WORKER_LOST");
  failing_->failing = failing_->reads_fail = true;
  EXPECT_FALSE(scheduler_->Synchronize(worker_.report()).ok());
  failing_->failing = failing_->reads_fail = false;  // but no tick has come since
  EXPECT_THAT(scheduler_->Synchronize(worker_.report()),
              StatusIs(absl::StatusCode::kUnavailable, "report again"));
  int reads = 0;
  failing_->on_read = [&] {
    ++reads;
    EXPECT_THAT(scheduler_->Synchronize(worker_.report()),
                StatusIs(absl::StatusCode::kUnavailable, "report again"))
        << "while it is being taken back";
  };
  scheduler_->Tick();
  EXPECT_EQ(reads, 1);
  failing_->on_read = [] {};
  EXPECT_THAT(Sync(worker_), IsEmpty());
  EXPECT_EQ(Get(job).attempts_size(), 1);
}

}  // namespace
}  // namespace longlora::server
