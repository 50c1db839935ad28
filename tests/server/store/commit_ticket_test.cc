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

}  // namespace
}  // namespace longlora::server
