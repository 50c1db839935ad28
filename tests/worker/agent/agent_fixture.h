// An agent with real processes of the fake trainer against the fake service, in a temporary
// directory.
#ifndef LONGLORA_TESTS_WORKER_AGENT_AGENT_FIXTURE_H_
#define LONGLORA_TESTS_WORKER_AGENT_AGENT_FIXTURE_H_

#include <sys/types.h>

#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "common/time/fake_clock.h"
#include "gtest/gtest.h"
#include "tests/testing/temporary_directory.h"
#include "tests/worker/agent/fake_worker_service.h"
#include "tests/worker/supervisor/trainer_fixture.h"
#include "worker/agent/attempt.h"
#include "worker/agent/sync_loop.h"
#include "worker/metrics/worker_metrics.h"
#include "worker/supervisor/posix_process.h"

namespace longlora::worker {

class AgentFixture : public ::testing::Test {
 protected:
  AgentFixture();
  ~AgentFixture() override;

  // A RUN assignment of "fineTuneJobs/{job}", with a dataset and the script for the fake trainer.
  seam::Assignment MakeAssignment(const std::string& job, int32_t attempt,
                                  const std::string& script);
  // Assigns it, and returns its id.
  AttemptId Assign(const seam::Assignment& assignment);

  // Runs the sync loop on a thread until Leave or an error.
  void StartLoop();
  absl::Status JoinLoop();

  // Waits until the service has heard of `state`.
  bool WaitForState(const AttemptId& id, seam::AttemptStatus::State state);
  // Ids of live processes of this fixture's attempts.
  std::vector<pid_t> Processes() const;
  std::string AttemptPath(const AttemptId& id) const;

  testing::TemporaryDirectory directory_;
  FakeWorkerService service_;
  PosixProcessLauncher launcher_;
  DeviceLocks device_locks_;
  WorkerMetrics metrics_{"test", {}, &common::Clock::Real()};
  std::unique_ptr<ServerLink> link_;
  std::unique_ptr<FileCache> cache_;
  AttemptEnvironment environment_;
  std::unique_ptr<SyncLoop> loop_;

 private:
  std::thread thread_;
  absl::Status result_;
};

}  // namespace longlora::worker

#endif  // LONGLORA_TESTS_WORKER_AGENT_AGENT_FIXTURE_H_
