// Goal: an answer is told once what it rests on is decided, and what is made of it as well.
// Method: tickets by hand.
#include "server/scheduler/answer.h"

#include <memory>
#include <string>

#include "gmock/gmock.h"
#include "tests/testing/status_matchers.h"

namespace longlora::server {
namespace {

using ::longlora::testing::StatusIs;

TEST(AnswerTest, KnownValuesAndErrorsNeedNoTicket) {
  Answer<std::string> value = std::string("yes");
  EXPECT_TRUE(value.ticket().decided());
  ASSERT_OK_AND_ASSIGN(const std::string got, value.Get());
  EXPECT_EQ(got, "yes");
  Answer<std::string> error = absl::NotFoundError("no such");
  EXPECT_THAT(error.Get(), StatusIs(absl::StatusCode::kNotFound, "no such"));
}

TEST(AnswerTest, FinishesAfterTheTicketWhateverItsOutcome) {
  for (const absl::Status& outcome : {absl::OkStatus(), absl::UnavailableError("disk")}) {
    const CommitTicket ticket = CommitTicket::Pending();
    bool finished = false;
    Answer<int> answer(ticket, [&]() -> absl::StatusOr<int> {
      finished = true;
      EXPECT_TRUE(ticket.decided());
      if (!ticket.Wait().ok()) return ticket.Wait();
      return 7;
    });
    EXPECT_FALSE(answer.ticket().decided());
    ticket.OnDecided([&] { EXPECT_FALSE(finished) << "by nobody but Get"; });
    ticket.Decide(outcome);
    const absl::StatusOr<int> got = answer.Get();
    EXPECT_TRUE(finished);
    EXPECT_EQ(got.status(), outcome);
  }
}

TEST(AnswerTest, ThenKeepsTheTicketAndPassesErrorsOn) {
  const CommitTicket ticket = CommitTicket::Pending();
  // Neither copies what it carries.
  Answer<std::unique_ptr<int>> first(ticket, [value = std::make_unique<int>(4)]() mutable {
    return absl::StatusOr<std::unique_ptr<int>>(std::move(value));
  });
  Answer<std::string> second =
      std::move(first).Then([](absl::StatusOr<std::unique_ptr<int>> number) {
        return absl::StatusOr<std::string>(std::string(static_cast<size_t>(**number), 'x'));
      });
  EXPECT_FALSE(second.ticket().decided());
  ticket.Decide(absl::OkStatus());
  ASSERT_OK_AND_ASSIGN(const std::string got, second.Get());
  EXPECT_EQ(got, "xxxx");

  Answer<int> failing = absl::AbortedError("first");
  Answer<int> after = std::move(failing).Then([](absl::StatusOr<int> number) {
    EXPECT_THAT(number, StatusIs(absl::StatusCode::kAborted, "first"));
    return number;
  });
  EXPECT_THAT(after.Get(), StatusIs(absl::StatusCode::kAborted, "first"));
}

}  // namespace
}  // namespace longlora::server
