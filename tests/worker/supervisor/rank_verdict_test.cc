// Goal: every way a rank can end has the right reason and fault; environment and devices are what
// ranks expect. Method: tables over pure functions.
#include "worker/supervisor/rank_verdict.h"

#include <signal.h>

#include <fstream>

#include "common/trainer_protocol/exit_code.h"
#include "gmock/gmock.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temporary_directory.h"
#include "worker/supervisor/device_inventory.h"
#include "worker/supervisor/oom_watch.h"
#include "worker/supervisor/rank_environment.h"

namespace longlora::worker {
namespace {

using ::longlora::common::ExitCode;
using ::longlora::testing::StatusIs;
using ::testing::Contains;
using ::testing::HasSubstr;

RankEnd ExitOf(ExitCode code) {
  return {.rank = 0, .exit = {.code = static_cast<int>(code)}, .error = {}, .last_lines = ""};
}

TEST(RankVerdictTest, GoodEndsAreNoFailure) {
  EXPECT_FALSE(JudgeRank(ExitOf(ExitCode::kSucceeded)).has_value());
  EXPECT_FALSE(JudgeRank(ExitOf(ExitCode::kStopped)).has_value());
}

TEST(RankVerdictTest, ExitCodesWithoutAnErrorEvent) {
  const struct {
    ExitCode code;
    std::string reason;
    Fault fault;
  } kCases[] = {{ExitCode::kInternal, "TRAINER_ERROR", Fault::kSystem},
                {ExitCode::kInvalidJob, "INVALID_SPEC", Fault::kJob},
                {ExitCode::kOutOfMemory, "OUT_OF_MEMORY", Fault::kJob},
                {ExitCode::kNonFinite, "NON_FINITE", Fault::kJob},
                {ExitCode::kResource, "TRAINER_ERROR", Fault::kSystem},
                {static_cast<ExitCode>(127), "TRAINER_ERROR", Fault::kSystem}};
  for (const auto& item : kCases) {
    const auto failure = JudgeRank(ExitOf(item.code));
    ASSERT_TRUE(failure.has_value());
    EXPECT_EQ(failure->reason, item.reason);
    EXPECT_EQ(failure->fault, item.fault);
  }
}

TEST(RankVerdictTest, ReportedReasonWinsOverTheExitCode) {
  RankEnd end = ExitOf(ExitCode::kResource);
  end.error = common::ErrorEvent{"PEER_LOST", "rank 1 is gone"};
  EXPECT_EQ(JudgeRank(end)->reason, "PEER_LOST");
  EXPECT_EQ(JudgeRank(end)->fault, Fault::kSystem);
}

TEST(RankVerdictTest, SigkillIsOutOfMemoryOnlyWhenTheKernelKilledSomething) {
  RankEnd end = {
      .rank = 2, .exit = {.code = 0, .signal = SIGKILL}, .error = {}, .last_lines = "loading"};
  EXPECT_EQ(JudgeRank(end)->reason, "TRAINER_CRASHED");
  EXPECT_EQ(JudgeRank(end)->fault, Fault::kSystem);
  EXPECT_THAT(JudgeRank(end)->message, HasSubstr("loading"));
  end.oom_kills_rose = true;
  EXPECT_EQ(JudgeRank(end)->reason, "OUT_OF_MEMORY");
  EXPECT_THAT(JudgeRank(end)->message, HasSubstr("most likely")) << "it is a guess and must say so";
  end.exit.signal = SIGSEGV;
  EXPECT_EQ(JudgeRank(end)->reason, "TRAINER_CRASHED");
}

TEST(RankVerdictTest, LostPeerYieldsToTheCauseAndNothingElseDoes) {
  const RankFailure peer{"PEER_LOST", "", Fault::kSystem};
  const RankFailure crash{"TRAINER_CRASHED", "", Fault::kSystem};
  const RankFailure memory{"OUT_OF_MEMORY", "", Fault::kJob};
  EXPECT_TRUE(Supersedes(crash, peer));
  EXPECT_FALSE(Supersedes(peer, crash));
  EXPECT_FALSE(Supersedes(memory, crash)) << "first error wins";
  EXPECT_FALSE(Supersedes(peer, peer));
}

TEST(OomWatchTest, NoticesARiseOnly) {
  testing::TemporaryDirectory directory;
  const auto write = [&](const std::string& text) { std::ofstream(directory / "events") << text; };
  write("low 0\noom 9\noom_kill 3\n");
  const OomWatch watch({directory / "missing", directory / "events"});
  EXPECT_FALSE(watch.Rose());
  write("low 0\noom 10\noom_kill 4\n");
  EXPECT_TRUE(watch.Rose());
}

TEST(RankEnvironmentTest, TorchrunVariablesReplaceInheritedOnes) {
  RankPlace place{.rank = 1, .devices = {}, .master_port = 1234, .mark = "w/j/1;"};
  for (const char* uuid : {"GPU-a", "GPU-b"}) {
    place.devices.push_back({.id = uuid, .kind = "cuda", .model = "", .uuid = uuid});
  }
  const auto environment =
      RankEnvironment({"RANK=9", "HOME=/root", "CUDA_VISIBLE_DEVICES=7"}, place);
  for (const char* wanted :
       {"RANK=1", "LOCAL_RANK=1", "WORLD_SIZE=2", "MASTER_ADDR=127.0.0.1", "MASTER_PORT=1234",
        "LONGLORA_ATTEMPT=w/j/1;", "CUDA_VISIBLE_DEVICES=GPU-a,GPU-b", "HOME=/root"}) {
    EXPECT_THAT(environment, Contains(wanted).Times(1));
  }
  EXPECT_THAT(environment, ::testing::Not(Contains("RANK=9")));
}

TEST(RankEnvironmentTest, CpuRanksSeeNoGpuAndTheirShareOfThreads) {
  RankPlace place{
      .rank = 0,
      .devices = {{.id = "cpu:0", .kind = "cpu", .model = "", .uuid = "", .threads = 3}},
      .master_port = 1,
      .mark = ""};
  const auto environment = RankEnvironment({}, place);
  EXPECT_THAT(environment, Contains("CUDA_VISIBLE_DEVICES="));
  EXPECT_THAT(environment, Contains("OMP_NUM_THREADS=3"));
  EXPECT_THAT(environment, Contains("OMP_WAIT_POLICY=passive"));
}

TEST(DeviceInventoryTest, CpuDevicesShareTheMachine) {
  ASSERT_OK_AND_ASSIGN(const auto devices, FindDevices("cpu:2"));
  ASSERT_EQ(devices.size(), 2u);
  EXPECT_EQ(devices[1].id, "cpu:1");
  EXPECT_EQ(devices[1].kind, "cpu");
  EXPECT_GE(devices[1].threads, 1);
  EXPECT_GT(devices[1].memory_bytes, 0);
}

TEST(DeviceInventoryTest, NonsenseIsRefusedWithTheFlag) {
  for (const char* wanted : {"", "cpu", "cpu:0", "cpu:-1", "cpu:1025", "cpu:2x", "gpu", "cuda:1"}) {
    EXPECT_THAT(FindDevices(wanted), StatusIs(absl::StatusCode::kInvalidArgument, "--devices"))
        << wanted;
  }
}

TEST(DeviceInventoryTest, CudaGivesDevicesOrSaysWhatIsMissing) {
  const auto devices = FindDevices("cuda");
  if (devices.ok()) {
    for (const Device& device : *devices) EXPECT_THAT(device.uuid, ::testing::StartsWith("GPU-"));
  } else {
    EXPECT_THAT(devices, StatusIs(absl::StatusCode::kFailedPrecondition, "NVIDIA driver"));
  }
}

}  // namespace
}  // namespace longlora::worker
