// Goal: every device-second of an attempt is in one class, the right one, and the classes sum up to
// its length whatever clocks do. Method: hand-made events; then random ones with clocks that jump.
#include "server/scheduler/device_ledger.h"

#include <random>

#include "gtest/gtest.h"
#include "server/store/timestamps.h"

namespace longlora::server {
namespace {

const absl::Time kStart = absl::FromUnixSeconds(1'700'000'000);
constexpr LedgerFacts kTwoDevices = {2, kStart, 0};

class DeviceLedgerTest : public ::testing::Test {
 protected:
  v1::JobEvent& At(double seconds) {
    event_.Clear();
    *event_.mutable_event_time() = ToTimestamp(kStart + absl::Seconds(seconds));
    return event_;
  }
  // The server gets it half a second later.
  void Account(const LedgerFacts& facts = kTwoDevices) {
    AccountEvent(event_, FromTimestamp(event_.event_time()) + absl::Seconds(0.5), facts, progress_);
  }
  void Step(double at, int64_t step, double took, double checkpoint = 0.0,
            const LedgerFacts& facts = kTwoDevices) {
    v1::Step& body = *At(at).mutable_step();
    body.set_step(step);
    body.set_tokens(1000);
    body.set_tokens_per_second(1000.0 / took);
    body.set_checkpoint_seconds(checkpoint);
    Account(facts);
  }
  const v1::DeviceLedger& ledger() const { return progress_.ledger(); }

  v1::JobEvent event_;
  v1::Progress progress_;
};

TEST_F(DeviceLedgerTest, EachSecondHasItsClass) {
  At(10).mutable_prepared();
  Account();
  Step(15, 1, 5);
  At(18).mutable_evaluation();
  Account();
  Step(30, 2, 7, 2);  // twelve seconds: seven computed, two waited for a copy, three nobody knows
  At(31).mutable_log();
  Account();
  At(34).mutable_finished();
  Account();
  CloseLedger(LastStretch::kFinishing, kStart + absl::Seconds(40), kTwoDevices, progress_);
  EXPECT_DOUBLE_EQ(ledger().preparing(), 20);
  EXPECT_DOUBLE_EQ(ledger().training(), 24);
  EXPECT_DOUBLE_EQ(ledger().evaluating(), 6);
  EXPECT_DOUBLE_EQ(ledger().checkpointing(), 4);
  EXPECT_DOUBLE_EQ(ledger().stalled(), 6);
  EXPECT_DOUBLE_EQ(ledger().finishing(), 20);
  EXPECT_DOUBLE_EQ(TotalOf(ledger()), 80);
}

TEST_F(DeviceLedgerTest, StepsThatAnEarlierAttemptMadeAreRecomputed) {
  const LedgerFacts resumed = {1, kStart, 12};
  Step(5, 11, 5, 0, resumed);
  Step(10, 12, 5, 0, resumed);
  Step(15, 13, 5, 0, resumed);
  EXPECT_DOUBLE_EQ(ledger().recomputed(), 10);
  EXPECT_DOUBLE_EQ(ledger().training(), 5);
}

TEST_F(DeviceLedgerTest, TheLastStretchIsWhatItIsCalled) {
  Step(5, 1, 5);
  CloseLedger(LastStretch::kStopping, kStart + absl::Seconds(9), kTwoDevices, progress_);
  EXPECT_DOUBLE_EQ(ledger().stopping(), 8);
  progress_.Clear();
  CloseLedger(LastStretch::kPreparing, kStart + absl::Seconds(9), kTwoDevices, progress_);
  EXPECT_DOUBLE_EQ(ledger().preparing(), 18);
  progress_.Clear();
  At(4).mutable_finished()->set_stopped(true);
  Account();
  EXPECT_DOUBLE_EQ(ledger().stopping(), 8);
}

TEST_F(DeviceLedgerTest, WrongFiguresOfATrainerMakeNoWrongSums) {
  for (const double speed : {0.0, -1.0, 1e-300, 1e300}) {
    progress_.Clear();
    v1::Step& body = *At(8).mutable_step();
    body.set_step(1);
    body.set_tokens(1000);
    body.set_tokens_per_second(speed);
    body.set_checkpoint_seconds(1e9);
    Account();
    EXPECT_DOUBLE_EQ(TotalOf(ledger()), 16) << speed;
  }
}

TEST_F(DeviceLedgerTest, TheSumIsTheLengthWhateverTheClocksSay) {
  for (uint32_t seed = 0; seed < 500; ++seed) {
    std::mt19937 random(seed);
    std::uniform_real_distribution<double> jump(-50.0, 50.0);
    progress_.Clear();
    absl::Time now = kStart;
    absl::Time latest = kStart;
    for (int i = 0; i < 30; ++i) {
      now += absl::Seconds(std::abs(jump(random)));
      if (random() % 8 == 0) now += absl::Seconds(jump(random));  // the server's date jumps
      latest = std::max(latest, now);
      At(absl::ToDoubleSeconds(now - kStart) + jump(random));  // the worker's is off
      switch (random() % 4) {
        case 0:
          event_.mutable_prepared();
          break;
        case 1:
          event_.mutable_evaluation();
          break;
        default:
          event_.mutable_step()->set_tokens(100);
          event_.mutable_step()->set_tokens_per_second(1.0 + static_cast<double>(random() % 50));
      }
      const double before = TotalOf(ledger());
      AccountEvent(event_, now, kTwoDevices, progress_);
      EXPECT_GE(TotalOf(ledger()), before) << "no class is taken from, seed " << seed;
    }
    CloseLedger(LastStretch::kStalled, now, kTwoDevices, progress_);
    const absl::Time end = FromTimestamp(progress_.ledger_time());
    EXPECT_GE(end, now - absl::Nanoseconds(1));  // the resolution of a Timestamp
    EXPECT_LE(end, latest);
    EXPECT_NEAR(TotalOf(ledger()), 2 * absl::ToDoubleSeconds(end - kStart), 1e-6) << seed;
    EXPECT_GE(ledger().stalled(), 0.0);
  }
}

}  // namespace
}  // namespace longlora::server
