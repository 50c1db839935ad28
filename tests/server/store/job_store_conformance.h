// What every JobStore promises, as one suite. A store joins by a factory that opens it on a folder;
// opening the same folder again, after the first was closed, must find what was acknowledged:
//   INSTANTIATE_TEST_SUITE_P(Sqlite, JobStoreConformance, ::testing::Values(factory));
#ifndef LONGLORA_TESTS_SERVER_STORE_JOB_STORE_CONFORMANCE_H_
#define LONGLORA_TESTS_SERVER_STORE_JOB_STORE_CONFORMANCE_H_

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/store/job_store.h"
#include "tests/server/store/job_transactions.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temporary_directory.h"

namespace longlora::server {

using JobStoreFactory =
    std::function<absl::StatusOr<std::unique_ptr<JobStore>>(const std::string& folder)>;
using ::longlora::testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

class JobStoreConformance : public ::testing::TestWithParam<JobStoreFactory> {
 protected:
  void SetUp() override { Reopen(); }
  void Reopen() {
    store_.reset();
    ASSERT_OK_AND_ASSIGN(store_, GetParam()(folder_.path()));
  }
  absl::Status Commit(JobTransaction transaction) {
    return store_->Enqueue(std::move(transaction)).Wait();
  }
  StoredJob Read(const std::string& id) {
    absl::StatusOr<StoredJob> job = store_->ReadJob(id);
    EXPECT_OK(job);
    return job.ok() ? *job : StoredJob();
  }
  std::vector<std::string> List(const JobQuery& query) {
    std::vector<std::string> ids;
    const absl::StatusOr<std::vector<StoredJob>> jobs = store_->ListJobs(query);
    EXPECT_OK(jobs);
    if (jobs.ok()) {
      for (const StoredJob& job : *jobs) ids.push_back(job.id);
    }
    return ids;
  }

  testing::TemporaryDirectory folder_;
  std::unique_ptr<JobStore> store_;
};

TEST_P(JobStoreConformance, CreatedJobIsReadBackAsItWas) {
  JobTransaction create = CreateJob("alpha-1", 7, "wish");
  create.cursor.progress.set_step(3);
  create.cursor.acknowledged_sequence = 5;
  ASSERT_OK(Commit(create));
  const StoredJob job = Read("alpha-1");
  EXPECT_EQ(job.order, 7);
  EXPECT_EQ(job.revision, 1);
  EXPECT_EQ(job.record.SerializeAsString(), create.record->SerializeAsString());
  EXPECT_EQ(job.cursor.last_event_sequence, 1);
  EXPECT_EQ(job.cursor.acknowledged_sequence, 5);
  EXPECT_EQ(job.cursor.progress.step(), 3);
}

TEST_P(JobStoreConformance, UnknownJobIsNotFound) {
  EXPECT_THAT(store_->ReadJob("none-1"), StatusIs(absl::StatusCode::kNotFound, "none-1"));
  EXPECT_THAT(store_->ReadEvents("none-1", 0, 10), StatusIs(absl::StatusCode::kNotFound, "none-1"));
  EXPECT_THAT(store_->ReadJobByRequestId("wish"), StatusIs(absl::StatusCode::kNotFound, "wish"));
  JobTransaction change = CreateJob("none-1", 1);
  change.expected_revision = 1;
  EXPECT_THAT(Commit(change), StatusIs(absl::StatusCode::kNotFound, "none-1"));
}

TEST_P(JobStoreConformance, SecondJobOfOneIdIsRefused) {
  ASSERT_OK(Commit(CreateJob("alpha-1", 1)));
  EXPECT_THAT(Commit(CreateJob("alpha-1", 2)), StatusIs(absl::StatusCode::kAlreadyExists, ""));
}

TEST_P(JobStoreConformance, SecondJobOfOneRequestIdIsRefusedAndLeavesNothing) {
  ASSERT_OK(Commit(CreateJob("alpha-1", 1, "wish")));
  EXPECT_THAT(Commit(CreateJob("beta-2", 2, "wish")),
              StatusIs(absl::StatusCode::kAlreadyExists, ""));
  EXPECT_THAT(store_->ReadJob("beta-2"), StatusIs(absl::StatusCode::kNotFound, ""));
  ASSERT_OK_AND_ASSIGN(const StoredJob job, store_->ReadJobByRequestId("wish"));
  EXPECT_EQ(job.id, "alpha-1");
}

TEST_P(JobStoreConformance, JobsWithoutRequestIdDoNotCollide) {
  ASSERT_OK(Commit(CreateJob("alpha-1", 1)));
  ASSERT_OK(Commit(CreateJob("beta-2", 2)));
  EXPECT_THAT(store_->ReadJobByRequestId(""), StatusIs(absl::StatusCode::kNotFound, ""));
}

TEST_P(JobStoreConformance, ChangeOfARecordRaisesTheRevision) {
  ASSERT_OK(Commit(CreateJob("alpha-1", 1)));
  ASSERT_OK(Commit(ChangeState(Read("alpha-1"), v1::FineTuneJob::PREPARING)));
  const StoredJob job = Read("alpha-1");
  EXPECT_EQ(job.revision, 2);
  EXPECT_EQ(job.record.job().state(), v1::FineTuneJob::PREPARING);
  EXPECT_EQ(job.cursor.last_event_sequence, 2);
}

TEST_P(JobStoreConformance, EventsAloneLeaveTheRevision) {
  ASSERT_OK(Commit(CreateJob("alpha-1", 1)));
  ASSERT_OK(Commit(AppendLog(Read("alpha-1"), 3)));
  const StoredJob job = Read("alpha-1");
  EXPECT_EQ(job.revision, 1);
  EXPECT_EQ(job.cursor.last_event_sequence, 4);
  EXPECT_EQ(job.cursor.acknowledged_sequence, 3);
}

TEST_P(JobStoreConformance, ChangeOfAnOlderRevisionIsAbortedWhole) {
  ASSERT_OK(Commit(CreateJob("alpha-1", 1)));
  const StoredJob old = Read("alpha-1");
  ASSERT_OK(Commit(ChangeState(old, v1::FineTuneJob::PREPARING)));
  EXPECT_THAT(Commit(ChangeState(old, v1::FineTuneJob::CANCELLED)),
              StatusIs(absl::StatusCode::kAborted, "alpha-1"));
  const StoredJob job = Read("alpha-1");
  EXPECT_EQ(job.record.job().state(), v1::FineTuneJob::PREPARING);
  EXPECT_EQ(job.cursor.last_event_sequence, 2);
}

TEST_P(JobStoreConformance, ChangeOfAnOlderRevisionIsAbortedAlsoWithoutEvents) {
  ASSERT_OK(Commit(CreateJob("alpha-1", 1)));
  const StoredJob old = Read("alpha-1");
  JobTransaction change;
  change.id = old.id;
  change.expected_revision = old.revision;
  change.expected_last_event_sequence = old.cursor.last_event_sequence;
  change.record = old.record;
  change.cursor = old.cursor;
  ASSERT_OK(Commit(change));
  EXPECT_THAT(Commit(change), StatusIs(absl::StatusCode::kAborted, "revision 2"));
}

TEST_P(JobStoreConformance, ChangeAfterEventsItDidNotSeeIsAborted) {
  ASSERT_OK(Commit(CreateJob("alpha-1", 1)));
  const StoredJob old = Read("alpha-1");
  ASSERT_OK(Commit(AppendLog(old, 1)));
  EXPECT_THAT(Commit(AppendLog(old, 1)), StatusIs(absl::StatusCode::kAborted, "event 2"));
  EXPECT_THAT(Commit(ChangeState(old, v1::FineTuneJob::CANCELLED)),
              StatusIs(absl::StatusCode::kAborted, "event 2"));
}

TEST_P(JobStoreConformance, EventsWithAGapAreRefusedWhole) {
  ASSERT_OK(Commit(CreateJob("alpha-1", 1)));
  JobTransaction gap = AppendLog(Read("alpha-1"), 2);
  gap.events[1].set_sequence(9);
  EXPECT_FALSE(Commit(gap).ok());
  ASSERT_OK_AND_ASSIGN(const EventPage page, store_->ReadEvents("alpha-1", 0, 100));
  EXPECT_THAT(page.events, SizeIs(1));
}

TEST_P(JobStoreConformance, RefusedChangeSparesItsNeighboursInTheGroup) {
  // Handed over together, so that they share a commit.
  const CommitTicket first = store_->Enqueue(CreateJob("alpha-1", 1));
  const CommitTicket refused = store_->Enqueue(CreateJob("alpha-1", 2));
  const CommitTicket last = store_->Enqueue(CreateJob("beta-2", 3));
  EXPECT_OK(first.Wait());
  EXPECT_FALSE(refused.Wait().ok());
  EXPECT_OK(last.Wait());
  EXPECT_THAT(List({}), ElementsAre("beta-2", "alpha-1"));
}

TEST_P(JobStoreConformance, ChangesAreDecidedInOrder) {
  ASSERT_OK(Commit(CreateJob("alpha-1", 1)));
  StoredJob job = Read("alpha-1");
  std::vector<CommitTicket> tickets;
  for (int i = 0; i < 1000; ++i) {
    tickets.push_back(store_->Enqueue(AppendLog(job, 1)));
    ++job.cursor.last_event_sequence;  // as the store will have it
    ++job.cursor.acknowledged_sequence;
  }
  for (const CommitTicket& ticket : tickets) ASSERT_OK(ticket.Wait());
  EXPECT_EQ(Read("alpha-1").cursor.last_event_sequence, 1001);
}

TEST_P(JobStoreConformance, EventsAreReadInPagesWithTheEndOfTheLog) {
  ASSERT_OK(Commit(CreateJob("alpha-1", 1)));
  ASSERT_OK(Commit(AppendLog(Read("alpha-1"), 4)));
  ASSERT_OK_AND_ASSIGN(const EventPage page, store_->ReadEvents("alpha-1", 2, 2));
  ASSERT_THAT(page.events, SizeIs(2));
  EXPECT_EQ(page.events[0].sequence(), 3);
  EXPECT_EQ(page.events[1].sequence(), 4);
  EXPECT_EQ(page.last_event_sequence, 5);
  EXPECT_FALSE(page.job_is_final);
  ASSERT_OK(Commit(ChangeState(Read("alpha-1"), v1::FineTuneJob::CANCELLED)));
  ASSERT_OK_AND_ASSIGN(const EventPage end, store_->ReadEvents("alpha-1", 6, 2));
  EXPECT_THAT(end.events, IsEmpty());
  EXPECT_TRUE(end.job_is_final);
}

TEST_P(JobStoreConformance, OldEventsAreDroppedButNeverTheLast) {
  ASSERT_OK(Commit(CreateJob("alpha-1", 1)));
  ASSERT_OK(Commit(CreateJob("beta-1", 2)));
  ASSERT_OK(Commit(AppendLog(Read("alpha-1"), 4)));
  ASSERT_OK(Commit(AppendLog(Read("beta-1"), 2)));
  ASSERT_OK(store_->EnqueueDropEvents("alpha-1", 3).Wait());
  ASSERT_OK(store_->EnqueueDropEvents("alpha-1", 2).Wait());
  ASSERT_OK(store_->EnqueueDropEvents("none-1", 3).Wait());
  ASSERT_OK_AND_ASSIGN(const EventPage page, store_->ReadEvents("alpha-1", 0, 10));
  ASSERT_THAT(page.events, SizeIs(2));
  EXPECT_EQ(page.events[0].sequence(), 4);
  EXPECT_EQ(page.first_event_sequence, 4);
  EXPECT_EQ(page.last_event_sequence, 5);
  ASSERT_OK(store_->EnqueueDropEvents("alpha-1", 100).Wait());
  ASSERT_OK_AND_ASSIGN(const EventPage last, store_->ReadEvents("alpha-1", 0, 10));
  ASSERT_THAT(last.events, SizeIs(1));
  EXPECT_EQ(last.events[0].sequence(), 5);
  ASSERT_OK_AND_ASSIGN(const EventPage other, store_->ReadEvents("beta-1", 0, 10));
  EXPECT_THAT(other.events, SizeIs(3));
  ASSERT_OK(Commit(AppendLog(Read("alpha-1"), 1))) << "the log goes on as it was";
}

TEST_P(JobStoreConformance, JobsWithLongEventLogsAreListedOldestFirst) {
  const auto list = [&](const EventLogQuery& query) {
    std::vector<std::string> ids;
    const absl::StatusOr<std::vector<StoredJob>> jobs = store_->ListEventLogs(query);
    EXPECT_OK(jobs);
    if (!jobs.ok()) return ids;
    for (const StoredJob& job : *jobs) ids.push_back(job.id);
    return ids;
  };
  for (int i = 1; i <= 4; ++i) {
    const std::string id = "job-" + std::to_string(i);
    ASSERT_OK(Commit(CreateJob(id, i)));
    ASSERT_OK(Commit(AppendLog(Read(id), i)));
  }
  ASSERT_OK(Commit(ChangeState(Read("job-3"), v1::FineTuneJob::FAILED)));
  EXPECT_THAT(list({2, false, 0, 10}), ElementsAre("job-2", "job-3", "job-4"));
  EXPECT_THAT(list({2, false, 2, 10}), ElementsAre("job-3", "job-4"));
  EXPECT_THAT(list({2, false, 0, 1}), ElementsAre("job-2"));
  EXPECT_THAT(list({2, true, 0, 10}), ElementsAre("job-3"));
  ASSERT_OK(store_->EnqueueDropEvents("job-4", 3).Wait());
  EXPECT_THAT(list({2, false, 0, 10}), ElementsAre("job-2", "job-3")) << "what is dropped is gone";
}

TEST_P(JobStoreConformance, JobsAreListedNewestFirstInPagesAndByState) {
  for (int i = 1; i <= 5; ++i) ASSERT_OK(Commit(CreateJob("job-" + std::to_string(i), i)));
  ASSERT_OK(Commit(ChangeState(Read("job-2"), v1::FineTuneJob::FAILED)));
  ASSERT_OK(Commit(ChangeState(Read("job-4"), v1::FineTuneJob::RUNNING)));
  EXPECT_THAT(List({.limit = 2}), ElementsAre("job-5", "job-4"));
  EXPECT_THAT(List({.before_order = 4, .limit = 2}), ElementsAre("job-3", "job-2"));
  EXPECT_THAT(List({.states = {v1::FineTuneJob::FAILED, v1::FineTuneJob::RUNNING}}),
              ElementsAre("job-4", "job-2"));
  ASSERT_OK_AND_ASSIGN(const std::vector<StoredJob> live, store_->ListLiveJobs());
  EXPECT_THAT(live, SizeIs(4));
  EXPECT_EQ(live.front().id, "job-1");
  ASSERT_OK_AND_ASSIGN(const auto counts, store_->CountJobsByState());
  EXPECT_EQ(counts.at(v1::FineTuneJob::QUEUED), 3);
  EXPECT_EQ(counts.at(v1::FineTuneJob::FAILED), 1);
}

TEST_P(JobStoreConformance, RemovedJobLeavesNothingAndItsNamesAreFree) {
  ASSERT_OK(Commit(CreateJob("alpha-1", 1, "wish")));
  JobTransaction remove;
  remove.id = "alpha-1";
  remove.expected_revision = 1;
  remove.expected_last_event_sequence = 1;
  remove.remove = true;
  ASSERT_OK(Commit(remove));
  EXPECT_THAT(store_->ReadJob("alpha-1"), StatusIs(absl::StatusCode::kNotFound, ""));
  EXPECT_THAT(Commit(remove), StatusIs(absl::StatusCode::kNotFound, ""));
  EXPECT_OK(Commit(CreateJob("alpha-1", 1, "wish")));
  ASSERT_OK_AND_ASSIGN(const EventPage page, store_->ReadEvents("alpha-1", 0, 10));
  EXPECT_THAT(page.events, SizeIs(1));
}

TEST_P(JobStoreConformance, NewestOrderIsThatOfTheNewestJob) {
  ASSERT_OK_AND_ASSIGN(const int64_t none, store_->NewestOrder());
  EXPECT_EQ(none, 0);
  ASSERT_OK(Commit(CreateJob("alpha-1", 41)));
  ASSERT_OK_AND_ASSIGN(const int64_t newest, store_->NewestOrder());
  EXPECT_EQ(newest, 41);
}

TEST_P(JobStoreConformance, WorkersAreReplacedByNameAndForgotten) {
  internal::v1::WorkerRecord worker;
  worker.mutable_worker()->set_name("workers/b");
  worker.set_incarnation("first");
  ASSERT_OK(store_->EnqueueWorker(worker).Wait());
  worker.set_incarnation("second");
  ASSERT_OK(store_->EnqueueWorker(worker).Wait());
  worker.mutable_worker()->set_name("workers/a");
  ASSERT_OK(store_->EnqueueWorker(worker).Wait());
  ASSERT_OK_AND_ASSIGN(const auto workers, store_->ListWorkers());
  ASSERT_THAT(workers, SizeIs(2));
  EXPECT_EQ(workers[0].worker().name(), "workers/a");
  EXPECT_EQ(workers[1].incarnation(), "second");
  ASSERT_OK(store_->EnqueueForgetWorker("workers/a").Wait());
  ASSERT_OK(store_->EnqueueForgetWorker("workers/a").Wait());
  ASSERT_OK_AND_ASSIGN(const auto rest, store_->ListWorkers());
  EXPECT_THAT(rest, SizeIs(1));
}

TEST_P(JobStoreConformance, ReopenedStoreHoldsEverything) {
  ASSERT_OK(Commit(CreateJob("alpha-1", 1, "wish")));
  ASSERT_OK(Commit(AppendLog(Read("alpha-1"), 10, "text with\na line break and ü")));
  internal::v1::WorkerRecord worker;
  worker.mutable_worker()->set_name("workers/a");
  ASSERT_OK(store_->EnqueueWorker(worker).Wait());
  const StoredJob before = Read("alpha-1");
  Reopen();
  const StoredJob after = Read("alpha-1");
  EXPECT_EQ(after.record.SerializeAsString(), before.record.SerializeAsString());
  EXPECT_EQ(after.cursor.acknowledged_sequence, 10);
  ASSERT_OK_AND_ASSIGN(const EventPage page, store_->ReadEvents("alpha-1", 0, 100));
  EXPECT_THAT(page.events, SizeIs(11));
  ASSERT_OK_AND_ASSIGN(const auto workers, store_->ListWorkers());
  EXPECT_THAT(workers, SizeIs(1));
}

TEST_P(JobStoreConformance, ClosingDecidesWhatWasHandedOver) {
  std::vector<CommitTicket> tickets;
  for (int i = 1; i <= 2000; ++i) {
    tickets.push_back(store_->Enqueue(CreateJob("job-" + std::to_string(i), i)));
  }
  Reopen();
  for (const CommitTicket& ticket : tickets) EXPECT_OK(ticket.Wait());
  EXPECT_THAT(List({.limit = 5000}), SizeIs(2000));
}

TEST_P(JobStoreConformance, ManyThreadsWriteAndReadAtOnce) {
  constexpr int kThreads = 8;
  constexpr int kJobs = 50;
  std::atomic<int> failures = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < kJobs; ++i) {
        const std::string id = "job-" + std::to_string(t) + "-" + std::to_string(i);
        if (!Commit(CreateJob(id, t * kJobs + i + 1)).ok()) ++failures;
        // Its own write is there at once.
        const absl::StatusOr<StoredJob> job = store_->ReadJob(id);
        if (!job.ok() || !Commit(AppendLog(*job, 2)).ok()) ++failures;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(failures, 0);
  EXPECT_THAT(List({.limit = 1000}), SizeIs(kThreads * kJobs));
}

}  // namespace longlora::server

#endif  // LONGLORA_TESTS_SERVER_STORE_JOB_STORE_CONFORMANCE_H_
