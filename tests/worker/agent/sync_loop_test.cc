// Goal: the worker does what the server wants in every state, trains on while the server is away,
// lets go before the server gives jobs away, and leaves nothing behind. Method: the whole agent
// with real processes of the fake trainer against a fake service on loopback.
#include "worker/agent/sync_loop.h"

#include <filesystem>

#include "absl/strings/str_cat.h"
#include "common/io/files.h"
#include "gmock/gmock.h"
#include "tests/testing/status_matchers.h"
#include "tests/worker/agent/agent_fixture.h"

namespace longlora::worker {
namespace {

using ::longlora::testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using State = seam::AttemptStatus;

class SyncLoopTest : public AgentFixture {
 protected:
  // Steps of the `step` events that the service has.
  std::vector<int64_t> Steps(const AttemptId& id) {
    std::vector<int64_t> steps;
    for (const api::JobEvent& event : service_.Events(id)) {
      if (event.has_step()) steps.push_back(event.step().step());
    }
    return steps;
  }
  bool WaitForStep(const AttemptId& id, int64_t step) {
    return Eventually([&] {
      const std::vector<int64_t> steps = Steps(id);
      return !steps.empty() && steps.back() >= step;
    });
  }
  bool WaitUntilForgotten(const AttemptId& id) {
    return Eventually([&] { return !std::filesystem::exists(AttemptPath(id)); });
  }
};

TEST_F(SyncLoopTest, JobRunsToItsEndAndEverythingArrives) {
  seam::Assignment assignment = MakeAssignment("one", 1, "steps=4 checkpoint_every=2");
  assignment.mutable_spec()->mutable_export_()->set_merged(true);
  const AttemptId id = Assign(assignment);
  StartLoop();
  ASSERT_TRUE(WaitForState(id, State::SUCCEEDED));
  EXPECT_THAT(Steps(id), ElementsAre(1, 2, 3, 4));
  EXPECT_TRUE(service_.Events(id).front().has_prepared());
  EXPECT_TRUE(service_.Events(id).back().has_finished());
  std::vector<std::string> results;
  for (const api::Artifact& artifact : service_.Results(id)) results.push_back(artifact.path());
  EXPECT_THAT(results, ElementsAre("adapter/adapter_config.json",
                                   "adapter/adapter_model.safetensors", "merged/config.json"));
  EXPECT_EQ(service_.ArtifactContent(id, "adapter/adapter_model.safetensors"),
            std::string(1000, 'w'));
  const auto checkpoints = service_.Checkpoints(id);
  ASSERT_EQ(checkpoints.size(), 2u);
  EXPECT_EQ(checkpoints[0].step(), 2);
  EXPECT_DOUBLE_EQ(checkpoints[0].loss(), 2.0);
  EXPECT_EQ(checkpoints[1].artifacts(0).path(), "checkpoints/step-4/manifest.json");
  EXPECT_TRUE(WaitUntilForgotten(id)) << "files of a recorded attempt must go";
  EXPECT_THAT(Processes(), IsEmpty());
}

TEST_F(SyncLoopTest, RegistersWithDevicesAndModels) {
  StartLoop();
  ASSERT_TRUE(Eventually([&] { return !service_.synchronize_requests().empty(); }));
  const seam::SynchronizeRequest request = service_.synchronize_requests().front();
  EXPECT_EQ(request.worker(), "w1");
  EXPECT_EQ(request.incarnation(), "incarnation-1");
  EXPECT_EQ(request.number(), 1);
  EXPECT_THAT(request.models(), ElementsAre("tiny"));
  ASSERT_EQ(request.model_configs_size(), 1);
  EXPECT_EQ(request.model_configs(0).model(), "tiny");
  EXPECT_FALSE(request.model_configs(0).config_json().empty());
  ASSERT_EQ(request.devices_size(), 2);
  EXPECT_EQ(request.devices(1).id(), "cpu:1");
}

TEST_F(SyncLoopTest, ConfirmsThatItIsAliveWhenItTakesANameOver) {
  service_.AskForConfirmation(1000);
  ASSERT_OK(loop_->Step());
  EXPECT_THAT(service_.synchronize_requests(), IsEmpty());
  ASSERT_OK(loop_->Step());
  ASSERT_EQ(service_.synchronize_requests().size(), 1u);
  EXPECT_EQ(service_.synchronize_requests()[0].number(), 1001);
}

TEST_F(SyncLoopTest, OutageInsideTheLeaseTrainsOnAndReplaysEverything) {
  const AttemptId id =
      Assign(MakeAssignment("outage", 1, "steps=120 step_ms=5 checkpoint_every=10"));
  StartLoop();
  ASSERT_TRUE(WaitForStep(id, 3));
  service_.SetUnavailable(true);
  const size_t events_before = service_.Events(id).size();
  // Checkpoints that appear on disk show that the trainer goes on.
  ASSERT_TRUE(Eventually(
      [&] { return std::filesystem::exists(AttemptPath(id) + "/output/checkpoints/step-100"); }));
  EXPECT_LE(service_.Events(id).size(), events_before + 1);
  service_.SetUnavailable(false);
  ASSERT_TRUE(WaitForState(id, State::SUCCEEDED));
  std::vector<int64_t> wanted;
  for (int64_t step = 1; step <= 120; ++step) wanted.push_back(step);
  EXPECT_EQ(Steps(id), wanted) << "no event lost or doubled";
}

TEST_F(SyncLoopTest, FailureOfTheTrainerIsReportedAfterItsLastCheckpoint) {
  const AttemptId id =
      Assign(MakeAssignment("crash", 1, "steps=100 checkpoint_every=2 crash_at=5 signal=11"));
  StartLoop();
  ASSERT_TRUE(WaitForState(id, State::FAILED));
  const api::Failure failure = service_.ReportedStatus(id)->failure();
  EXPECT_EQ(failure.reason(), "TRAINER_CRASHED");
  EXPECT_EQ(failure.fault(), api::Failure::SYSTEM);
  EXPECT_THAT(failure.message(), HasSubstr("signal 11"));
  ASSERT_FALSE(service_.Checkpoints(id).empty());
  EXPECT_EQ(service_.Checkpoints(id).back().step(), 4) << "the next attempt goes on from here";
  EXPECT_TRUE(WaitUntilForgotten(id));
}

TEST_F(SyncLoopTest, CheckpointOfTheAssignmentIsResumedFrom) {
  seam::Assignment assignment = MakeAssignment("resume", 2, "steps=8");
  api::Checkpoint* checkpoint = assignment.mutable_resume_from();
  checkpoint->set_step(6);
  *checkpoint->add_artifacts() =
      service_.AddStoredArtifact("checkpoints/step-6/state.bin", std::string(5000, 's'));
  *checkpoint->add_artifacts() =
      service_.AddStoredArtifact("checkpoints/step-6/manifest.json", "{\"step\": 6}");
  service_.BreakStreams(1500, 2);
  const AttemptId id = Assign(assignment);
  StartLoop();
  ASSERT_TRUE(WaitForState(id, State::SUCCEEDED));
  EXPECT_THAT(Steps(id), ElementsAre(7, 8));
  EXPECT_EQ(service_.Events(id).front().prepared().start_step(), 6);
}

TEST_F(SyncLoopTest, ArtifactOutsideItsCheckpointIsRefused) {
  seam::Assignment assignment = MakeAssignment("evil", 2, "steps=8");
  assignment.mutable_resume_from()->set_step(6);
  *assignment.mutable_resume_from()->add_artifacts() =
      service_.AddStoredArtifact("checkpoints/step-6/../../../escaped", "x");
  const AttemptId id = Assign(assignment);
  StartLoop();
  ASSERT_TRUE(WaitForState(id, State::FAILED));
  EXPECT_EQ(service_.ReportedStatus(id)->failure().reason(), "TRANSFER_FAILED");
}

TEST_F(SyncLoopTest, BadSpecsFailWithTheFieldAndTheJobsFault) {
  seam::Assignment model = MakeAssignment("model", 1, "");
  model.mutable_spec()->set_base_model("/etc");
  seam::Assignment adapter = MakeAssignment("adapter", 1, "");
  adapter.mutable_spec()->mutable_method()->set_initial_adapter("missing");
  seam::Assignment dataset = MakeAssignment("dataset", 1, "");
  dataset.mutable_spec()->mutable_dataset()->set_training(
      absl::StrCat("files/", std::string(64, 'a')));
  const struct {
    seam::Assignment assignment;
    std::string reason;
    std::string words;
  } kCases[] = {{model, "INVALID_SPEC", "base_model"},
                {adapter, "INVALID_SPEC", "method.initial_adapter"},
                {dataset, "DATASET_INVALID", "dataset.training"}};
  StartLoop();
  for (const auto& item : kCases) {
    const AttemptId id = Assign(item.assignment);
    ASSERT_TRUE(WaitForState(id, State::FAILED));
    const api::Failure failure = service_.ReportedStatus(id)->failure();
    EXPECT_EQ(failure.reason(), item.reason);
    EXPECT_EQ(failure.fault(), api::Failure::JOB);
    EXPECT_THAT(failure.message(), HasSubstr(item.words));
  }
}

TEST_F(SyncLoopTest, StaleAttemptEndsAtOnceAndUnreported) {
  const AttemptId id = Assign(MakeAssignment("stale", 1, "steps=100000 step_ms=5 ignore_sigterm"));
  StartLoop();
  ASSERT_TRUE(WaitForStep(id, 2));
  service_.MakeStale(id);
  ASSERT_TRUE(Eventually([&] { return Processes().empty(); }))
      << "SIGKILL, not the grace of 20 seconds";
  EXPECT_TRUE(WaitUntilForgotten(id));
}

TEST_F(SyncLoopTest, CancelWhileTheDatasetIsFetched) {
  service_.HoldStreams(true);
  const AttemptId id = Assign(MakeAssignment("cancel-fetch", 1, ""));
  StartLoop();
  ASSERT_TRUE(Eventually([&] { return service_.held_streams() == 1; }));
  EXPECT_TRUE(WaitForState(id, State::PREPARING));
  service_.SetDesired(id, seam::Assignment::STOP);
  ASSERT_TRUE(WaitForState(id, State::STOPPED));
  EXPECT_TRUE(WaitUntilForgotten(id));
}

TEST_F(SyncLoopTest, CancelWhileTraining) {
  const AttemptId id = Assign(MakeAssignment("cancel-run", 1, "steps=100000 step_ms=5"));
  StartLoop();
  ASSERT_TRUE(WaitForStep(id, 2));
  EXPECT_TRUE(WaitForState(id, State::RUNNING));
  EXPECT_EQ(Processes().size(), 1u);
  service_.SetDesired(id, seam::Assignment::STOP);
  ASSERT_TRUE(WaitForState(id, State::STOPPED));
  EXPECT_THAT(Processes(), IsEmpty());
  EXPECT_THAT(service_.Results(id), IsEmpty());
}

TEST_F(SyncLoopTest, CancelWhileResultsAreSent) {
  const AttemptId id = Assign(MakeAssignment("cancel-send", 1, "steps=2"));
  StartLoop();
  ASSERT_TRUE(WaitForStep(id, 1));
  service_.HoldStreams(true);
  // Held from now on; if the results were faster, the job is done and there is nothing to cancel.
  if (Eventually([&] { return service_.held_streams() > 0 || !service_.Results(id).empty(); }) &&
      service_.Results(id).empty()) {
    service_.SetDesired(id, seam::Assignment::STOP);
    ASSERT_TRUE(WaitForState(id, State::STOPPED));
  }
  EXPECT_TRUE(WaitUntilForgotten(id));
}

TEST_F(SyncLoopTest, CancelOfAnAttemptThatNeverArrived) {
  seam::Assignment assignment = MakeAssignment("never", 1, "");
  assignment.set_desired(seam::Assignment::STOP);
  const AttemptId id = Assign(assignment);
  StartLoop();
  EXPECT_TRUE(WaitForState(id, State::STOPPED));
}

TEST_F(SyncLoopTest, PauseDeliversACheckpointOfTheLastStep) {
  const AttemptId id = Assign(MakeAssignment("pause", 1, "steps=100000 step_ms=5"));
  StartLoop();
  ASSERT_TRUE(WaitForStep(id, 2));
  service_.SetDesired(id, seam::Assignment::PAUSE);
  ASSERT_TRUE(WaitForState(id, State::STOPPED));
  EXPECT_THAT(Processes(), IsEmpty());
  ASSERT_EQ(service_.Checkpoints(id).size(), 1u);
  EXPECT_EQ(service_.Checkpoints(id)[0].step(), Steps(id).back());
  EXPECT_TRUE(WaitUntilForgotten(id));
}

TEST_F(SyncLoopTest, PauseWaitsForAnAbsentServerToTakeTheCheckpoint) {
  const AttemptId id = Assign(MakeAssignment("pause-away", 1, "steps=100000 step_ms=5"));
  StartLoop();
  ASSERT_TRUE(WaitForStep(id, 2));
  service_.HoldStreams(true);
  service_.SetDesired(id, seam::Assignment::PAUSE);
  ASSERT_TRUE(Eventually([&] { return service_.held_streams() > 0; }));
  service_.SetUnavailable(true);
  EXPECT_TRUE(Eventually([&] { return Processes().empty(); }));
  service_.HoldStreams(false);
  service_.SetUnavailable(false);
  ASSERT_TRUE(WaitForState(id, State::STOPPED));
  EXPECT_EQ(service_.Checkpoints(id).size(), 1u);
}

TEST_F(SyncLoopTest, CancelOfAPausingAttemptDoesNotWaitForItsCheckpoint) {
  environment_.grace = absl::Milliseconds(100);
  const AttemptId id =
      Assign(MakeAssignment("pause-cancel", 1, "steps=100000 step_ms=5 ignore_sigterm"));
  StartLoop();
  ASSERT_TRUE(WaitForStep(id, 2));
  service_.SetDesired(id, seam::Assignment::PAUSE);
  ASSERT_TRUE(WaitForState(id, State::FINISHING));
  service_.SetDesired(id, seam::Assignment::STOP);
  ASSERT_TRUE(WaitForState(id, State::STOPPED));
  EXPECT_THAT(Processes(), IsEmpty());
}

TEST_F(SyncLoopTest, PauseOfAnAttemptThatNeverArrived) {
  seam::Assignment assignment = MakeAssignment("never-paused", 1, "");
  assignment.set_desired(seam::Assignment::PAUSE);
  const AttemptId id = Assign(assignment);
  StartLoop();
  EXPECT_TRUE(WaitForState(id, State::STOPPED));
}

TEST_F(SyncLoopTest, AttemptThatIsNoLongerListedIsStoppedAndForgotten) {
  const AttemptId id = Assign(MakeAssignment("unlisted", 1, "steps=100000 step_ms=5"));
  StartLoop();
  ASSERT_TRUE(WaitForStep(id, 2));
  service_.Unassign(id);
  ASSERT_TRUE(WaitForState(id, State::STOPPED));
  EXPECT_TRUE(WaitUntilForgotten(id));
  EXPECT_THAT(Processes(), IsEmpty());
}

TEST_F(SyncLoopTest, SecondAttemptWaitsForTheDeviceOfTheFirst) {
  const AttemptId first = Assign(MakeAssignment("shared", 1, "steps=100000 step_ms=5"));
  StartLoop();
  ASSERT_TRUE(WaitForStep(first, 2));
  const AttemptId second = Assign(MakeAssignment("other", 1, "steps=3"));
  ASSERT_TRUE(WaitForState(second, State::PREPARING));
  EXPECT_EQ(Processes().size(), 1u);
  service_.Unassign(first);
  EXPECT_TRUE(WaitForState(second, State::SUCCEEDED));
}

TEST_F(SyncLoopTest, LeavingStopsWithACheckpointAndSaysGoodbye) {
  const AttemptId id = Assign(MakeAssignment("leave", 1, "steps=100000 step_ms=5"));
  StartLoop();
  ASSERT_TRUE(WaitForStep(id, 3));
  loop_->Leave();
  ASSERT_OK(JoinLoop());
  EXPECT_THAT(Processes(), IsEmpty());
  ASSERT_EQ(service_.Checkpoints(id).size(), 1u);
  EXPECT_EQ(service_.Checkpoints(id)[0].step(), Steps(id).back());
  EXPECT_EQ(service_.ReportedStatus(id)->state(), State::STOPPED);
  EXPECT_TRUE(service_.synchronize_requests().back().leaving());
  EXPECT_FALSE(std::filesystem::exists(AttemptPath(id)));
  // The server knew before the attempt had stopped, and so did not take the stop for a failure.
  const auto requests = service_.synchronize_requests();
  EXPECT_TRUE(std::any_of(requests.begin(), requests.end(), [](const auto& request) {
    return request.leaving() && request.attempts_size() == 1 &&
           request.attempts(0).state() < State::STOPPED;
  }));
}

TEST_F(SyncLoopTest, NameThatAnotherTookEndsTheWorkerAndItsRanks) {
  const AttemptId id = Assign(MakeAssignment("taken", 1, "steps=100000 step_ms=5 ignore_sigterm"));
  StartLoop();
  ASSERT_TRUE(WaitForStep(id, 2));
  service_.RefuseName();
  EXPECT_THAT(JoinLoop(), StatusIs(absl::StatusCode::kAlreadyExists, "refuses this worker"));
  EXPECT_THAT(Processes(), IsEmpty());
}

// The lease by a clock that the test owns: the loop is stepped by hand.
class LeaseTest : public SyncLoopTest {
 protected:
  LeaseTest() { environment_.clock = &clock_; }
  // Attempts ask for the time until they have ended.
  ~LeaseTest() override { loop_.reset(); }
  void StepUntil(const std::function<bool()>& condition) {
    ASSERT_TRUE(Eventually([&] {
      EXPECT_OK(loop_->Step());
      return condition();
    }));
  }
  common::FakeClock clock_;
};

TEST_F(LeaseTest, LapseEndsTheRanksAndIsReportedOnReturn) {
  const AttemptId id = Assign(MakeAssignment("lease", 1, "steps=100000 step_ms=5 ignore_sigterm"));
  StepUntil([&] { return !Steps(id).empty(); });
  service_.SetUnavailable(true);
  clock_.Advance(absl::Seconds(29));
  ASSERT_OK(loop_->Step());
  EXPECT_EQ(Processes().size(), 1u) << "inside the lease the ranks train on";
  clock_.Advance(absl::Seconds(1));
  loop_->CheckLease();
  ASSERT_TRUE(Eventually([&] { return Processes().empty(); }));
  service_.SetUnavailable(false);
  StepUntil([&] {
    const auto status = service_.ReportedStatus(id);
    return status.has_value() && status->state() == State::FAILED;
  });
  EXPECT_EQ(service_.ReportedStatus(id)->failure().reason(), "WORKER_LOST");
  EXPECT_EQ(service_.ReportedStatus(id)->failure().fault(), api::Failure::SYSTEM);
}

// As of a machine that slept while it waited for the answer.
TEST_F(LeaseTest, NothingBeginsOnALeaseThatIsOverWhenItComes) {
  const AttemptId id = Assign(MakeAssignment("slept", 1, "steps=100000 step_ms=5"));
  service_.SetLease(absl::ZeroDuration());
  ASSERT_OK(loop_->Step());
  ASSERT_OK(loop_->Step());
  EXPECT_EQ(service_.synchronize_requests().back().attempts_size(), 0);
  service_.SetLease(absl::Seconds(30));
  StepUntil([&] { return !Steps(id).empty(); });
}

TEST_F(LeaseTest, DateThatJumpsDoesNotTouchTheLease) {
  const AttemptId id = Assign(MakeAssignment("jump", 1, "steps=100000 step_ms=5"));
  StepUntil([&] { return !Steps(id).empty(); });
  clock_.Jump(absl::Hours(24 * 365));
  loop_->CheckLease();
  ASSERT_OK(loop_->Step());
  EXPECT_EQ(Processes().size(), 1u);
}

TEST_F(LeaseTest, FinishedResultsOutliveTheLeaseAndAreDelivered) {
  const AttemptId id = Assign(MakeAssignment("late", 1, "steps=3 step_ms=100"));
  StepUntil([&] { return !Steps(id).empty(); });
  service_.SetUnavailable(true);
  // The device is free once the ranks have ended.
  Cancellation never;
  ASSERT_OK(device_locks_.Acquire({"cpu:0"}, &never));
  clock_.Advance(absl::Minutes(10));
  loop_->CheckLease();
  service_.SetUnavailable(false);
  StepUntil([&] {
    const auto status = service_.ReportedStatus(id);
    return status.has_value() && status->state() >= State::SUCCEEDED;
  });
  EXPECT_EQ(service_.ReportedStatus(id)->state(), State::SUCCEEDED);
  EXPECT_THAT(Steps(id), ElementsAre(1, 2, 3));
}

TEST(LeaseValueTest, CountsFromTheSendingAndLapsesOnce) {
  Lease lease;
  const common::MonotonicTime start(absl::Seconds(100));
  EXPECT_FALSE(lease.Lapse(start)) << "no lease, nothing to lose";
  lease.Renew(start, absl::Seconds(30));
  lease.Renew(start + absl::Seconds(-5), absl::Seconds(30));  // an old answer
  EXPECT_FALSE(lease.Lapse(start + absl::Seconds(29)));
  EXPECT_TRUE(lease.Lapse(start + absl::Seconds(30)));
  EXPECT_FALSE(lease.Lapse(start + absl::Seconds(31)));
}

}  // namespace
}  // namespace longlora::worker
