// Goal: a process whose event reader is gone ends by itself, and one whose reader lives does not.
// Method: a forked child watches a pipe; the parent closes the reading end.
#include "worker/trainer/events/reader_watch.h"

#include <gmock/gmock.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>

#include "common/trainer_protocol/exit_code.h"

namespace longlora::trainer {
namespace {

TEST(ReaderWatchTest, TheProcessEndsWhenTheReaderCloses) {
  std::array<int, 2> events{};
  std::array<int, 2> alive{};
  ASSERT_EQ(pipe(events.data()), 0);
  ASSERT_EQ(pipe(alive.data()), 0);
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    close(events[0]);
    ExitWhenReaderIsGone(events[1]);
    [[maybe_unused]] const ssize_t told = write(alive[1], "x", 1);
    while (true) pause();
  }
  close(events[1]);
  char byte = 0;
  ASSERT_EQ(read(alive[0], &byte, 1), 1);
  int status = 0;
  EXPECT_EQ(waitpid(child, &status, WNOHANG), 0) << "it ended while its reader was there";

  close(events[0]);

  ASSERT_EQ(waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), static_cast<int>(common::ExitCode::kResource));
  close(alive[0]);
  close(alive[1]);
}

}  // namespace
}  // namespace longlora::trainer
