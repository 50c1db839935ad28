// Goal: what a store has acknowledged survives the sudden death of its process.
// Method: a child process creates jobs from several threads and writes each id to a pipe after its
// OK; the parent kills it with SIGKILL after some of them and opens the store itself.
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "gtest/gtest.h"
#include "server/store/sqlite_job_store.h"
#include "tests/server/store/job_transactions.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temporary_directory.h"

namespace longlora::server {
namespace {

constexpr int kThreads = 4;
constexpr size_t kAcknowledgedMin = 200;

// Creates jobs for ever. Each acknowledged order goes through the pipe; so few bytes are never
// torn.
[[noreturn]] void CreateForever(const std::string& path, int pipe_fd) {
  absl::StatusOr<std::unique_ptr<JobStore>> store = OpenSqliteJobStore(path);
  if (!store.ok()) _exit(1);
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&store, t, pipe_fd] {
      for (int64_t order = t + 1;; order += kThreads) {
        const JobTransaction create = CreateJob("job-" + std::to_string(order), order);
        if (!(*store)->Enqueue(create).Wait().ok()) _exit(2);
        if (write(pipe_fd, &order, sizeof order) != sizeof order) _exit(3);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  _exit(4);
}

TEST(SqliteJobStoreKillTest, ReopenAfterKillKeepsAcknowledgedJobs) {
  const testing::TemporaryDirectory folder;
  const std::string path = folder / "jobs.db";
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    close(ends[0]);
    CreateForever(path, ends[1]);
  }
  close(ends[1]);

  std::set<int64_t> acknowledged;
  int64_t order = 0;
  while (acknowledged.size() < kAcknowledgedMin &&
         read(ends[0], &order, sizeof order) == sizeof order) {
    acknowledged.insert(order);
  }
  ASSERT_EQ(kill(child, SIGKILL), 0);
  // Also what it wrote before the signal reached it.
  while (read(ends[0], &order, sizeof order) == sizeof order) acknowledged.insert(order);
  close(ends[0]);
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) << "the child ended by itself";
  ASSERT_GE(acknowledged.size(), kAcknowledgedMin);

  ASSERT_OK_AND_ASSIGN(const auto store, OpenSqliteJobStore(path));
  for (const int64_t one : acknowledged) {
    EXPECT_OK(store->ReadJob("job-" + std::to_string(one)));
  }
  // No job is half there: each has its event.
  ASSERT_OK_AND_ASSIGN(const auto jobs, store->ListJobs({.limit = 1'000'000}));
  EXPECT_GE(jobs.size(), acknowledged.size());
  for (const StoredJob& job : jobs) {
    ASSERT_OK_AND_ASSIGN(const EventPage page, store->ReadEvents(job.id, 0, 10));
    EXPECT_EQ(static_cast<int64_t>(page.events.size()), job.cursor.last_event_sequence);
  }
}

}  // namespace
}  // namespace longlora::server
