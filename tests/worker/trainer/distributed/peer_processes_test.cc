// Goal: an ended process is told from a living one and from one that cannot be judged. Method:
// forked children, killed but not yet reaped (as a supervisor leaves them for a moment), and a
// made-up machine.
#include "worker/trainer/distributed/peer_processes.h"

#include <gmock/gmock.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>

namespace longlora::trainer {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

TEST(PeerProcessesTest, OnlyTheKilledProcessIsFound) {
  std::array<int, 2> channel{};
  ASSERT_EQ(pipe(channel.data()), 0);
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    const std::string self = DescribeThisProcess();
    [[maybe_unused]] const ssize_t told = write(channel[1], self.data(), self.size());
    while (true) pause();
  }
  std::array<char, 256> text{};
  const ssize_t length = read(channel[0], text.data(), text.size());
  ASSERT_GT(length, 0);
  const std::vector<std::string> peers = {DescribeThisProcess(),
                                          std::string(text.data(), static_cast<size_t>(length)),
                                          "another-machine,pid:[1] 1 1"};
  EXPECT_THAT(FindEndedProcesses(peers, absl::ZeroDuration()), IsEmpty());

  kill(child, SIGKILL);

  EXPECT_THAT(FindEndedProcesses(peers, absl::Seconds(30)), ElementsAre(1));
  waitpid(child, nullptr, 0);
  EXPECT_THAT(FindEndedProcesses(peers, absl::ZeroDuration()), ElementsAre(1));
}

}  // namespace
}  // namespace longlora::trainer
