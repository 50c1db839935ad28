// Goal: events are whole lines with the clock's time, only rank 0 speaks, and a closed reader is an
// error. Method: a pipe and a fake clock.
#include "worker/trainer/events/event_writer.h"

#include <gmock/gmock.h>
#include <signal.h>
#include <unistd.h>

#include <array>
#include <string>
#include <thread>

#include "common/io/unique_fd.h"
#include "common/time/fake_clock.h"
#include "tests/testing/status_matchers.h"

namespace longlora::trainer {
namespace {

using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class EventWriterTest : public ::testing::Test {
 protected:
  void SetUp() override {
    signal(SIGPIPE, SIG_IGN);
    std::array<int, 2> ends{};
    ASSERT_EQ(pipe(ends.data()), 0);
    reader_ = common::UniqueFd(ends[0]);
    writer_ = common::UniqueFd(ends[1]);
  }

  // Everything written until the writing end is closed.
  std::string ReadAll() {
    std::string text;
    std::array<char, 4096> buffer{};
    ssize_t count = 0;
    while ((count = read(reader_.get(), buffer.data(), buffer.size())) > 0) {
      text.append(buffer.data(), static_cast<size_t>(count));
    }
    return text;
  }

  common::FakeClock clock_{absl::FromUnixMillis(1'500)};
  common::UniqueFd reader_;
  common::UniqueFd writer_;
};

TEST_F(EventWriterTest, AnEventIsOneLineWithTheTime) {
  EventWriter events(writer_.get(), /*rank=*/0, clock_);
  ASSERT_OK(events.Write(common::StepEvent{.step = 3, .loss = 1.25}));
  writer_.Reset();
  const std::string line = ReadAll();
  EXPECT_THAT(line, EndsWith("}\n"));
  ASSERT_OK_AND_ASSIGN(const common::TrainerEvent event, common::ParseTrainerEvent(line));
  EXPECT_DOUBLE_EQ(event.time, 1.5);
  const auto& step = std::get<common::StepEvent>(event.body);
  EXPECT_EQ(step.step, 3);
  EXPECT_DOUBLE_EQ(step.loss, 1.25);
}

TEST_F(EventWriterTest, OtherRanksOnlyReportErrors) {
  EventWriter events(writer_.get(), /*rank=*/1, clock_);
  ASSERT_OK(events.Write(common::StepEvent{.step = 3}));
  ASSERT_OK(events.Write(common::ErrorEvent{.reason = "PEER_LOST", .message = "rank 0 is lost"}));
  writer_.Reset();
  const std::string text = ReadAll();
  EXPECT_THAT(text, HasSubstr("PEER_LOST"));
  EXPECT_THAT(text, ::testing::Not(HasSubstr("\"step\"")));
}

TEST_F(EventWriterTest, AClosedReaderIsUnavailable) {
  EventWriter events(writer_.get(), /*rank=*/0, clock_);
  reader_.Reset();
  EXPECT_THAT(events.Write(common::WarningEvent{.message = "unheard"}),
              longlora::testing::StatusIs(absl::StatusCode::kUnavailable, "Broken pipe"));
}

TEST_F(EventWriterTest, AnEventLargerThanThePipeArrivesWhole) {
  const std::string message(1 << 20, 'x');
  std::string received;
  std::thread reader([&] { received = ReadAll(); });
  EventWriter events(writer_.get(), /*rank=*/0, clock_);
  EXPECT_OK(events.Write(common::WarningEvent{.message = message}));
  writer_.Reset();
  reader.join();
  ASSERT_OK_AND_ASSIGN(const common::TrainerEvent event, common::ParseTrainerEvent(received));
  EXPECT_EQ(std::get<common::WarningEvent>(event.body).message.size(), message.size());
}

}  // namespace
}  // namespace longlora::trainer
