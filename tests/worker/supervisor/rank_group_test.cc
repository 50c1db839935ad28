// Goal: the ranks of an attempt live and die as one, nothing of them stays, and the reason that is
// reported is the first real one.
// Method: real processes of the fake trainer, scripted to succeed, crash, hang, flood and flee.
#include "worker/supervisor/rank_group.h"

#include <signal.h>

#include <filesystem>
#include <set>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/io/files.h"
#include "gmock/gmock.h"
#include "tests/testing/status_matchers.h"
#include "tests/worker/supervisor/trainer_fixture.h"
#include "worker/supervisor/process_record.h"

namespace longlora::worker {
namespace {

using ::testing::HasSubstr;
using End = RankGroupResult::End;

class RankGroupTest : public TrainerFixture {
 protected:
  std::vector<pid_t> RecordedPids() {
    std::vector<pid_t> pids;
    EXPECT_TRUE(Eventually([&] { return ReadProcessRecord(directory_ / "processes.json").ok(); }));
    const auto record = ReadProcessRecord(directory_ / "processes.json");
    if (!record.ok()) return pids;
    for (const RecordedProcess& process : record->processes) pids.push_back(process.pid);
    return pids;
  }

  pid_t ReadPid(const std::string& name) {
    pid_t pid = 0;
    EXPECT_TRUE(Eventually([&] {
      const auto text = common::ReadFile(directory_ / name, 100);
      return text.ok() && absl::SimpleAtoi(*text, &pid);
    }));
    return pid;
  }
};

TEST_F(RankGroupTest, TwoRanksThatSucceedGiveEventsOfRankZeroOnce) {
  const RankGroupResult result = Run(Spec(2, "steps=3"));
  EXPECT_EQ(result.end, End::kSucceeded) << result.failure.message;
  EXPECT_EQ(sink_.EventsOf<common::PreparedEvent>().size(), 1u);
  EXPECT_EQ(sink_.EventsOf<common::StepEvent>().size(), 3u);
  EXPECT_EQ(sink_.EventsOf<common::FinishedEvent>().size(), 1u);
  EXPECT_FALSE(std::filesystem::exists(directory_ / "processes.json"))
      << "the record must go with the group";
}

TEST_F(RankGroupTest, DeathOfAnyRankEndsAll) {
  for (const int dying : {0, 1, 2}) {
    RankGroupSpec spec =
        Spec(3, absl::StrCat("steps=100000 step_ms=5 crash_at=3 signal=11 crash_rank=", dying));
    Start(spec);
    const RankGroupResult result = Join();
    EXPECT_EQ(result.end, End::kFailed);
    EXPECT_EQ(result.failure.reason, "TRAINER_CRASHED");
    EXPECT_EQ(result.failure.fault, Fault::kSystem);
    EXPECT_THAT(result.failure.message,
                HasSubstr(absl::StrCat("rank ", dying, " was killed by signal 11")));
    EXPECT_THAT(result.failure.message, HasSubstr("about to crash at step 3")) << "the last lines";
  }
}

TEST_F(RankGroupTest, NoProcessOutlivesTheGroup) {
  Start(Spec(3, "steps=100000 step_ms=5"));
  ASSERT_TRUE(sink_.WaitFor<common::StepEvent>());
  const std::vector<pid_t> pids = RecordedPids();
  ASSERT_EQ(pids.size(), 3u);
  for (const pid_t pid : pids) EXPECT_TRUE(IsAlive(pid));
  kill(pids[1], SIGKILL);
  const RankGroupResult result = Join();
  EXPECT_EQ(result.failure.reason, "TRAINER_CRASHED");
  for (const pid_t pid : pids) EXPECT_FALSE(IsAlive(pid));
}

TEST_F(RankGroupTest, StopLetsTheTrainerWriteACheckpoint) {
  Start(Spec(2, "steps=100000 step_ms=5"));
  ASSERT_TRUE(sink_.WaitFor<common::StepEvent>());
  group_->Stop(absl::Seconds(20));
  EXPECT_EQ(Join().end, End::kStopped);
  ASSERT_EQ(sink_.EventsOf<common::CheckpointEvent>().size(), 1u);
  ASSERT_EQ(sink_.EventsOf<common::FinishedEvent>().size(), 1u);
  EXPECT_TRUE(sink_.EventsOf<common::FinishedEvent>()[0].stopped);
}

TEST_F(RankGroupTest, StopBeforeTheStartStartsNothing) {
  group_ = std::make_unique<RankGroup>(Spec(1, ""), &launcher_, &sink_, &common::Clock::Real());
  group_->Stop(absl::Seconds(20));
  EXPECT_EQ(group_->Run().end, End::kStopped);
  EXPECT_TRUE(sink_.events().empty());
}

TEST_F(RankGroupTest, IgnoredSigtermGetsSigkillAfterTheGrace) {
  Start(Spec(2, "steps=100000 step_ms=5 ignore_sigterm"));
  ASSERT_TRUE(sink_.WaitFor<common::StepEvent>());
  const std::vector<pid_t> pids = RecordedPids();
  group_->Stop(absl::Milliseconds(100));
  EXPECT_EQ(Join().end, End::kStopped);
  for (const pid_t pid : pids) EXPECT_FALSE(IsAlive(pid));
}

TEST_F(RankGroupTest, KillDoesNotWaitForTheGrace) {
  Start(Spec(2, "steps=100000 step_ms=5 ignore_sigterm"));
  ASSERT_TRUE(sink_.WaitFor<common::StepEvent>());
  group_->Stop(absl::Hours(1));
  group_->Kill();
  EXPECT_EQ(Join().end, End::kStopped);
}

TEST_F(RankGroupTest, AnotherStopShortensTheGraceAndNeverLengthensIt) {
  Start(Spec(2, "steps=100000 step_ms=5 ignore_sigterm"));
  ASSERT_TRUE(sink_.WaitFor<common::StepEvent>());
  group_->Stop(absl::Hours(1));
  group_->Stop(absl::Milliseconds(100));
  group_->Stop(absl::Hours(1));
  EXPECT_EQ(Join().end, End::kStopped);
}

TEST_F(RankGroupTest, RankThatDiesDuringALongGraceDoesNotHoldTheOthers) {
  RankGroupSpec spec = Spec(2, "steps=100000 step_ms=5 ignore_sigterm flood=1");
  spec.failure_grace = absl::Milliseconds(100);
  Start(spec);
  ASSERT_TRUE(sink_.WaitFor<common::StepEvent>());
  // A rank that does not yet ignore SIGTERM would end by it, which is no failure.
  ASSERT_TRUE(
      Eventually([&] { return common::FileSize(directory_ / "logs/rank-1.log").value_or(0) > 0; }));
  group_->Stop(absl::Hours(1));
  kill(RecordedPids()[1], SIGSEGV);
  EXPECT_EQ(Join().end, End::kStopped);
}

TEST_F(RankGroupTest, GrandchildThatFledFromItsSessionDiesToo) {
  Start(Spec(1, absl::StrCat("steps=100000 step_ms=5 grandchild=", directory_ / "grandchild")));
  ASSERT_TRUE(sink_.WaitFor<common::StepEvent>());
  const pid_t grandchild = ReadPid("grandchild");
  ASSERT_TRUE(IsAlive(grandchild));
  group_->Stop(absl::Seconds(20));
  EXPECT_EQ(Join().end, End::kStopped);
  EXPECT_FALSE(IsAlive(grandchild));
}

TEST_F(RankGroupTest, GrandchildOfASuccessfulTrainerDiesToo) {
  EXPECT_EQ(Run(Spec(1, absl::StrCat("steps=2 grandchild=", directory_ / "grandchild"))).end,
            End::kSucceeded);
  EXPECT_FALSE(IsAlive(ReadPid("grandchild")));
}

TEST_F(RankGroupTest, ReportedErrorGivesReasonAndFault) {
  RankGroupResult result = Run(Spec(2, "exit_at=2 code=2 error=DATASET_INVALID"));
  EXPECT_EQ(result.failure.reason, "DATASET_INVALID");
  EXPECT_EQ(result.failure.fault, Fault::kJob);
  EXPECT_THAT(result.failure.message, HasSubstr("rank 0: as the script says"));
}

TEST_F(RankGroupTest, ErrorOfARankOtherThanZeroIsPassedOn) {
  RankGroupResult result =
      Run(Spec(2, "steps=100000 step_ms=5 exit_at=2 code=5 error=NON_FINITE crash_rank=1"));
  EXPECT_EQ(result.failure.reason, "NON_FINITE");
  EXPECT_EQ(sink_.EventsOf<common::ErrorEvent>().size(), 1u);
}

TEST_F(RankGroupTest, SilenceAfterPreparedIsAHang) {
  RankGroupSpec spec = Spec(2, "hang_at=2 step_ms=1");
  spec.hang_timeout = absl::Milliseconds(300);
  const RankGroupResult result = Run(spec);
  EXPECT_EQ(result.end, End::kFailed);
  EXPECT_EQ(result.failure.reason, "TRAINER_HUNG");
  EXPECT_EQ(result.failure.fault, Fault::kSystem);
}

TEST_F(RankGroupTest, ExitWithoutFinishedIsNoSuccess) {
  const RankGroupResult result = Run(Spec(1, "steps=1 no_finish"));
  EXPECT_EQ(result.end, End::kFailed);
  EXPECT_EQ(result.failure.reason, "TRAINER_ERROR");
}

TEST_F(RankGroupTest, StopThatNobodyAskedForIsAFailure) {
  Start(Spec(1, "steps=100000 step_ms=5"));
  ASSERT_TRUE(sink_.WaitFor<common::StepEvent>());
  kill(RecordedPids().at(0), SIGTERM);
  const RankGroupResult result = Join();
  EXPECT_EQ(result.end, End::kFailed);
  EXPECT_THAT(result.failure.message, HasSubstr("did not send"));
}

TEST_F(RankGroupTest, MissingProgramIsNamed) {
  RankGroupSpec spec = Spec(2, "");
  spec.trainer = "/nowhere/longlora-trainer";
  const RankGroupResult result = Run(spec);
  EXPECT_EQ(result.end, End::kFailed);
  EXPECT_THAT(result.failure.message, HasSubstr("/nowhere/longlora-trainer"));
}

TEST_F(RankGroupTest, FloodOfLogLinesIsBoundedAndSaid) {
  ASSERT_EQ(Run(Spec(1, "flood=20000 steps=2")).end, End::kSucceeded);
  EXPECT_LE(sink_.EventsOf<common::LogEvent>().size(), 300u);
  EXPECT_GE(sink_.EventsOf<common::LogEvent>().size(), 100u);
  ASSERT_OK_AND_ASSIGN(const int64_t size, common::FileSize(directory_ / "logs/rank-0.log"));
  EXPECT_GT(size, 200000) << "the file has what the events leave out";
  EXPECT_EQ(sink_.EventsOf<common::StepEvent>().size(), 2u) << "no event of the trainer is lost";
}

TEST_F(RankGroupTest, LogFileIsBounded) {
  RankGroupSpec spec = Spec(1, "flood=20000 steps=1");
  spec.log_limits.file_bytes = 10000;
  ASSERT_EQ(Run(spec).end, End::kSucceeded);
  ASSERT_OK_AND_ASSIGN(const int64_t size, common::FileSize(directory_ / "logs/rank-0.log"));
  ASSERT_OK_AND_ASSIGN(const int64_t old_size, common::FileSize(directory_ / "logs/rank-0.log.1"));
  EXPECT_LE(size, 10000);
  EXPECT_LE(old_size, 10000);
}

TEST_F(RankGroupTest, BrokenAndOverlongEventLinesBecomeWarnings) {
  ASSERT_EQ(Run(Spec(1, "bad_json=500 long_line steps=2")).end, End::kSucceeded);
  EXPECT_EQ(sink_.EventsOf<common::WarningEvent>().size(),
            static_cast<size_t>(EventReader::kWarningsMax));
  EXPECT_EQ(sink_.EventsOf<common::StepEvent>().size(), 2u);
}

TEST_F(RankGroupTest, SinkThatCannotKeepEventsEndsTheGroup) {
  sink_.Refuse(absl::ResourceExhaustedError("spool is full"));
  const RankGroupResult result = Run(Spec(1, "steps=100000 step_ms=5"));
  EXPECT_EQ(result.failure.reason, "DISK_FULL");
  EXPECT_THAT(result.failure.message, HasSubstr("spool is full"));
}

}  // namespace
}  // namespace longlora::worker
