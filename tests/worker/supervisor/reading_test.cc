// Goal: whatever a trainer writes, the supervisor keeps its bounds: line lengths, warnings, log
// rates. Method: pipes and texts in memory, a fake clock.
#include <fcntl.h>
#include <unistd.h>

#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "common/io/unique_fd.h"
#include "common/time/fake_clock.h"
#include "gmock/gmock.h"
#include "tests/testing/temporary_directory.h"
#include "worker/supervisor/event_reader.h"
#include "worker/supervisor/line_reader.h"
#include "worker/supervisor/rank_log.h"

namespace longlora::worker {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;

class LineReaderTest : public ::testing::Test {
 protected:
  LineReaderTest() {
    int ends[2];
    EXPECT_EQ(pipe2(ends, O_NONBLOCK), 0);
    read_ = common::UniqueFd(ends[0]);
    write_ = common::UniqueFd(ends[1]);
  }
  void Write(const std::string& text) {
    ASSERT_EQ(write(write_.get(), text.data(), text.size()), static_cast<ssize_t>(text.size()));
  }
  bool Read(size_t budget = 1 << 20) {
    return reader_.ReadAvailable(read_.get(), budget, [&](absl::string_view line, bool cut) {
      lines_.emplace_back(line, cut);
    });
  }

  common::UniqueFd read_;
  common::UniqueFd write_;
  LineReader reader_{8};
  std::vector<std::pair<std::string, bool>> lines_;
};

TEST_F(LineReaderTest, LinesMayComeInPieces) {
  Write("on");
  EXPECT_TRUE(Read());
  EXPECT_TRUE(lines_.empty());
  Write("e\ntwo\n");
  EXPECT_TRUE(Read());
  EXPECT_THAT(lines_, ElementsAre(Pair("one", false), Pair("two", false)));
}

TEST_F(LineReaderTest, LineOfExactlyTheLimitIsWholeAndOneMoreIsCut) {
  Write("12345678\n123456789\nx\n");
  EXPECT_TRUE(Read());
  EXPECT_THAT(lines_,
              ElementsAre(Pair("12345678", false), Pair("12345678", true), Pair("x", false)));
}

TEST_F(LineReaderTest, UnfinishedLastLineIsDeliveredAtTheEnd) {
  Write("last");
  write_.Reset();
  EXPECT_FALSE(Read());
  EXPECT_THAT(lines_, ElementsAre(Pair("last", false)));
}

TEST_F(LineReaderTest, EndlessLineTakesNoMoreThanTheLimit) {
  for (int i = 0; i < 100; ++i) {
    Write(std::string(1000, 'x'));
    EXPECT_TRUE(Read());
  }
  Write("\n");
  EXPECT_TRUE(Read());
  EXPECT_THAT(lines_, ElementsAre(Pair("xxxxxxxx", true)));
}

TEST(EventReaderTest, ReadsEventsAndBoundsWarnings) {
  common::FakeClock clock;
  EventReader reader(3, &clock);
  const auto event = reader.Read(
      common::FormatTrainerEvent({.time = 5.0, .body = common::WarningEvent{"w"}}), false);
  ASSERT_TRUE(event.has_value());
  EXPECT_EQ(std::get<common::WarningEvent>(event->body).message, "w");
  EXPECT_FALSE(reader.Read("", false).has_value());
  int64_t warnings = 0;
  for (int i = 0; i < 1000; ++i) {
    const auto warning = reader.Read("no \x01 event", i % 2 == 1);
    if (!warning.has_value()) continue;
    ++warnings;
    EXPECT_THAT(std::get<common::WarningEvent>(warning->body).message, HasSubstr("rank 3 wrote"));
  }
  EXPECT_EQ(warnings, EventReader::kWarningsMax);
}

TEST(RankLogTest, RateIsBoundedAndOmissionsAreSaid) {
  testing::TemporaryDirectory directory;
  common::FakeClock clock;
  RankLog log(0, directory / "log",
              {.file_bytes = 1 << 20, .events_per_second = 10, .events_burst = 5}, &clock);
  size_t passed = 0;
  for (int i = 0; i < 100; ++i) passed += log.Take("line", false).size();
  EXPECT_EQ(passed, 5u);
  clock.Advance(absl::Milliseconds(100));
  const auto events = log.Take("next", false);
  ASSERT_EQ(events.size(), 2u);
  EXPECT_THAT(std::get<common::WarningEvent>(events[0].body).message, HasSubstr("95 lines"));
  EXPECT_EQ(std::get<common::LogEvent>(events[1].body).message, "next");
}

TEST(RankLogTest, TailKeepsTheLastLines) {
  testing::TemporaryDirectory directory;
  common::FakeClock clock;
  RankLog log(0, directory / "log", {}, &clock);
  for (int i = 0; i < 100; ++i) log.Take("line " + std::to_string(i), false);
  EXPECT_THAT(log.Tail(), HasSubstr("line 99"));
  EXPECT_THAT(log.Tail(), ::testing::Not(HasSubstr("line 50")));
}

}  // namespace
}  // namespace longlora::worker
