// Goal: a ticket gives its one outcome to everybody who holds a copy.
// Method: decide in one thread, wait in others.
#include "server/store/commit_ticket.h"

#include <thread>
#include <vector>

#include "gtest/gtest.h"

namespace longlora::server {
namespace {

TEST(CommitTicketTest, WaitersOfEveryCopySeeTheOutcome) {
  const CommitTicket ticket = CommitTicket::Pending();
  EXPECT_FALSE(ticket.decided());
  std::vector<absl::Status> seen(3);
  std::vector<std::thread> threads;
  for (absl::Status& status : seen)
    threads.emplace_back([ticket, &status] { status = ticket.Wait(); });
  ticket.Decide(absl::AbortedError("no"));
  for (std::thread& thread : threads) thread.join();
  for (const absl::Status& status : seen) EXPECT_EQ(status, absl::AbortedError("no"));
}

TEST(CommitTicketTest, DefaultIsDecidedAndOk) {
  EXPECT_TRUE(CommitTicket().decided());
  EXPECT_TRUE(CommitTicket().Wait().ok());
}

TEST(CommitTicketTest, CallbacksRunOnceWhetherTheyCameBeforeOrAfterTheOutcome) {
  const CommitTicket ticket = CommitTicket::Pending();
  int before = 0;
  int after = 0;
  const CommitTicket copy = ticket;
  ticket.OnDecided([&] {
    ++before;
    EXPECT_EQ(ticket.Wait(), absl::AbortedError("no")) << "the outcome is there";
  });
  copy.OnDecided([&] { ++before; });
  EXPECT_EQ(before, 0);
  ticket.Decide(absl::AbortedError("no"));
  EXPECT_EQ(before, 2);
  ticket.OnDecided([&] { ++after; });
  EXPECT_EQ(after, 1);
  EXPECT_EQ(before, 2);
}

}  // namespace
}  // namespace longlora::server
