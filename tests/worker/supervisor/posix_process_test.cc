// Goal: a child gets exactly the descriptors and environment it should, waits at the gate, and dies
// with the thread that forked it. Method: /bin/sh as the child.
#include "worker/supervisor/posix_process.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <memory>
#include <string>

#include "common/io/files.h"
#include "gmock/gmock.h"
#include "tests/testing/status_matchers.h"
#include "tests/worker/supervisor/trainer_fixture.h"
#include "worker/supervisor/process_table.h"

namespace longlora::worker {
namespace {

using ::longlora::testing::StatusIs;

ProcessSpec Shell(const std::string& script) {
  return {.arguments = {"/bin/sh", "-c", script},
          .environment = {"PATH=/usr/bin:/bin", "MARK=x"},
          .directory = "/"};
}

// Everything the child writes until it closes the pipe.
std::string ReadAll(int fd) {
  std::string text;
  char buffer[4096];
  while (true) {
    pollfd item = {.fd = fd, .events = POLLIN, .revents = 0};
    if (poll(&item, 1, 30000) != 1) return text + "[timeout]";
    const ssize_t got = read(fd, buffer, sizeof(buffer));
    if (got <= 0) return text;
    text.append(buffer, static_cast<size_t>(got));
  }
}

ProcessExit WaitForExit(Process& process) {
  pollfd item = {.fd = process.exit_fd(), .events = POLLIN, .revents = 0};
  EXPECT_EQ(poll(&item, 1, 30000), 1);
  return process.Reap().value_or(ProcessExit{.code = -1});
}

TEST(PosixProcessTest, ChildHasOutputEventsAndNothingElse) {
  const int leaked = open("/dev/null", O_RDONLY);  // without O_CLOEXEC, as a careless library would
  PosixProcessLauncher launcher;
  ASSERT_OK_AND_ASSIGN(
      auto process, launcher.Launch(Shell(
                        "echo out; echo err >&2; echo event >&3; ls /proc/self/fd; cat; exit 7")));
  ASSERT_OK(process->Start());
  EXPECT_EQ(ReadAll(process->events_fd()), "event\n");
  const std::string log = ReadAll(process->log_fd());
  // ls itself has the directory open as 4.
  EXPECT_EQ(log, "out\nerr\n0\n1\n2\n3\n4\n");
  const ProcessExit exit = WaitForExit(*process);
  EXPECT_EQ(exit.code, 7);
  EXPECT_EQ(exit.signal, 0);
  close(leaked);
}

TEST(PosixProcessTest, ChildDoesNothingBeforeItsStart) {
  testing::TemporaryDirectory directory;
  PosixProcessLauncher launcher;
  ASSERT_OK_AND_ASSIGN(auto process, launcher.Launch(Shell("touch " + directory / "ran")));
  EXPECT_TRUE(IsAlive(process->pid()));
  const pid_t pid = process->pid();
  process.reset();  // never started
  EXPECT_FALSE(IsAlive(pid));
  EXPECT_NE(access((directory / "ran").c_str(), F_OK), 0);
}

TEST(PosixProcessTest, ChildLeadsItsOwnSessionAndDefaultSignals) {
  signal(SIGPIPE, SIG_IGN);
  PosixProcessLauncher launcher;
  ASSERT_OK_AND_ASSIGN(
      auto process,
      launcher.Launch(Shell("ps -o sid= -o pgid= -p $$; grep SigIgn /proc/self/status")));
  ASSERT_OK(process->Start());
  const std::string log = ReadAll(process->log_fd());
  EXPECT_THAT(log, ::testing::ContainsRegex(std::to_string(process->pid()) + " +" +
                                            std::to_string(process->pid())));
  EXPECT_THAT(log, ::testing::HasSubstr("SigIgn:\t0000000000000000"));
  WaitForExit(*process);
}

TEST(PosixProcessTest, DeathBySignalIsTold) {
  PosixProcessLauncher launcher;
  ASSERT_OK_AND_ASSIGN(auto process, launcher.Launch(Shell("kill -SEGV $$")));
  ASSERT_OK(process->Start());
  EXPECT_EQ(WaitForExit(*process).signal, SIGSEGV);
}

TEST(PosixProcessTest, ProgramThatCannotBeExecutedIsNamed) {
  testing::TemporaryDirectory directory;
  ASSERT_OK(common::AtomicWriteFile(directory / "data", "no program"));
  PosixProcessLauncher launcher;
  ProcessSpec spec = Shell("");
  spec.arguments = {directory / "data"};
  ASSERT_OK_AND_ASSIGN(auto process, launcher.Launch(spec));
  EXPECT_THAT(process->Start(), StatusIs(absl::StatusCode::kPermissionDenied, directory / "data"));
}

TEST(PosixProcessTest, ReapEndsWhatTheLeaderLeftInItsGroup) {
  PosixProcessLauncher launcher;
  ASSERT_OK_AND_ASSIGN(auto process, launcher.Launch(Shell("sleep 1000 & echo $!")));
  ASSERT_OK(process->Start());
  pollfd item = {.fd = process->exit_fd(), .events = POLLIN, .revents = 0};
  ASSERT_EQ(poll(&item, 1, 30000), 1);
  char buffer[32] = "";
  ASSERT_GT(read(process->log_fd(), buffer, sizeof(buffer) - 1), 0);
  const pid_t orphan = std::stoi(buffer);
  ASSERT_TRUE(IsAlive(orphan));
  EXPECT_EQ(process->Reap()->code, 0);
  EXPECT_TRUE(Eventually([&] { return !IsAlive(orphan); }));
}

TEST(PosixProcessTest, ChildrenDieWithTheForkingThread) {
  auto launcher = std::make_unique<PosixProcessLauncher>();
  ASSERT_OK_AND_ASSIGN(auto process, launcher->Launch(Shell("sleep 1000")));
  ASSERT_OK(process->Start());
  ASSERT_TRUE(IsAlive(process->pid()));
  launcher.reset();  // as when the worker is killed: nobody sends a signal
  EXPECT_TRUE(Eventually([&] { return !IsAlive(process->pid()); }));
}

}  // namespace
}  // namespace longlora::worker
