// Goal: a restarted worker finds what its former life left, kills it and waits for it, and never
// hits a stranger that has an old number. Method: real processes that belong to nobody any more,
// with and without mark and record.
#include "worker/supervisor/process_sweep.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "common/io/files.h"
#include "gmock/gmock.h"
#include "tests/testing/status_matchers.h"
#include "tests/worker/supervisor/trainer_fixture.h"
#include "worker/supervisor/process_table.h"

namespace longlora::worker {
namespace {

// A process that sleeps with `mark` in its environment; killed at the end in any case.
class Sleeper {
 public:
  explicit Sleeper(const std::string& mark) : pid_(fork()) {
    if (pid_ == 0) {
      const std::string variable = absl::StrCat(kAttemptVariable, "=", mark);
      char* const environment[] = {const_cast<char*>(variable.c_str()), nullptr};
      char* const arguments[] = {const_cast<char*>("sleep"), const_cast<char*>("1000"), nullptr};
      execve("/bin/sleep", arguments, environment);
      _exit(127);
    }
    // Until exec is done the child has this program's environment.
    EXPECT_TRUE(Eventually([&] { return ReadEnvironment(pid_, kAttemptVariable) == mark; }));
  }
  ~Sleeper() {
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }
  pid_t pid() const { return pid_; }
  RecordedProcess record() const {
    return {.pid = pid_, .start_ticks = ReadProcess(pid_)->start_ticks};
  }

 private:
  const pid_t pid_;
};

// Unlike that of any other test at the same time.
std::string Prefix() { return absl::StrCat("sweep-test-", getpid(), "/"); }

TEST(ProcessSweepTest, KillsMarkedProcessesAndWaits) {
  const Sleeper mine(Prefix() + "job/1;");
  const Sleeper other_worker("another-worker/job/1;");
  ASSERT_OK_AND_ASSIGN(const int killed,
                       SweepProcesses({.mark_prefix = Prefix(), .records = {}}, absl::Seconds(20)));
  EXPECT_EQ(killed, 1);
  EXPECT_FALSE(IsAlive(mine.pid()));
  EXPECT_TRUE(IsAlive(other_worker.pid()));
}

TEST(ProcessSweepTest, KillsRecordedProcessWithoutMark) {
  const Sleeper mine("no mark of this worker");
  const ProcessRecord record{.boot_id = BootId(), .processes = {mine.record()}};
  ASSERT_OK_AND_ASSIGN(const int killed,
                       SweepProcesses({.mark_prefix = "", .records = {record}}, absl::Seconds(20)));
  EXPECT_EQ(killed, 1);
  EXPECT_FALSE(IsAlive(mine.pid()));
}

TEST(ProcessSweepTest, SparesAStrangerWithARecycledNumber) {
  const Sleeper stranger("stranger");
  RecordedProcess recycled = stranger.record();
  recycled.start_ticks -= 1;
  const ProcessRecord record{.boot_id = BootId(), .processes = {recycled}};
  ASSERT_OK_AND_ASSIGN(
      const int killed,
      SweepProcesses({.mark_prefix = Prefix(), .records = {record}}, absl::Seconds(20)));
  EXPECT_EQ(killed, 0);
  EXPECT_TRUE(IsAlive(stranger.pid()));
}

TEST(ProcessSweepTest, SparesProcessesRecordedBeforeTheMachineRestarted) {
  const Sleeper stranger("stranger");
  const ProcessRecord record{.boot_id = "another boot", .processes = {stranger.record()}};
  ASSERT_OK_AND_ASSIGN(
      const int killed,
      SweepProcesses({.mark_prefix = Prefix(), .records = {record}}, absl::Seconds(20)));
  EXPECT_EQ(killed, 0);
  EXPECT_TRUE(IsAlive(stranger.pid()));
}

TEST(ProcessSweepTest, NothingToDoIsFine) {
  ASSERT_OK_AND_ASSIGN(const int killed,
                       SweepProcesses({.mark_prefix = Prefix(), .records = {}}, absl::Seconds(20)));
  EXPECT_EQ(killed, 0);
}

TEST(ProcessRecordTest, RoundTripAndDamage) {
  testing::TemporaryDirectory directory;
  const std::string path = directory / "record.json";
  ASSERT_OK(WriteProcessRecord(
      path, {.boot_id = "b", .processes = {{.pid = 7, .start_ticks = 1ull << 40}}}));
  ASSERT_OK_AND_ASSIGN(const ProcessRecord record, ReadProcessRecord(path));
  EXPECT_EQ(record.boot_id, "b");
  ASSERT_EQ(record.processes.size(), 1u);
  EXPECT_EQ(record.processes[0].pid, 7);
  EXPECT_EQ(record.processes[0].start_ticks, 1ull << 40);
  ASSERT_OK(
      common::AtomicWriteFile(path, "{\"boot_id\": \"b\", \"processes\": [{\"pid\": \"7\"}]}"));
  EXPECT_EQ(ReadProcessRecord(path).status().code(), absl::StatusCode::kDataLoss);
}

}  // namespace
}  // namespace longlora::worker
