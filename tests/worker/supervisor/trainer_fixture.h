// Starts rank groups of fake trainers in a temporary directory and keeps what they report.
#ifndef LONGLORA_TESTS_WORKER_SUPERVISOR_TRAINER_FIXTURE_H_
#define LONGLORA_TESTS_WORKER_SUPERVISOR_TRAINER_FIXTURE_H_

#include <sys/types.h>

#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <variant>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "common/trainer_protocol/trainer_event.h"
#include "gtest/gtest.h"
#include "tests/testing/temporary_directory.h"
#include "worker/supervisor/posix_process.h"
#include "worker/supervisor/rank_group.h"

namespace longlora::worker {

// Path of the fake trainer: beside the test program.
std::string FakeTrainerPath();

// Waits for a condition that another process brings about; false after 30 seconds.
bool Eventually(const std::function<bool()>& condition);

// Whether a process that is not a zombie has this id.
bool IsAlive(pid_t pid);

// Keeps events; can wait for one. Thread-safe.
class RecordingSink : public EventSink {
 public:
  absl::Status OnEvent(const common::TrainerEvent& event) override;
  std::vector<common::TrainerEvent> events() const;

  template <typename Body>
  std::vector<Body> EventsOf() const {
    std::vector<Body> bodies;
    for (const common::TrainerEvent& event : events()) {
      if (const Body* body = std::get_if<Body>(&event.body)) bodies.push_back(*body);
    }
    return bodies;
  }
  template <typename Body>
  bool WaitFor() {
    return Eventually([&] { return !EventsOf<Body>().empty(); });
  }
  // What OnEvent returns from now on.
  void Refuse(absl::Status status);

 private:
  mutable absl::Mutex mutex_;
  std::vector<common::TrainerEvent> events_ ABSL_GUARDED_BY(mutex_);
  absl::Status answer_ ABSL_GUARDED_BY(mutex_);
};

class TrainerFixture : public ::testing::Test {
 protected:
  TrainerFixture();

  // A spec for a group of `ranks` fake trainers with `script`.
  RankGroupSpec Spec(int ranks, const std::string& script);
  // Makes the group and runs it to its end.
  RankGroupResult Run(RankGroupSpec spec);
  // The same on a thread; Join gives the result.
  void Start(RankGroupSpec spec);
  RankGroupResult Join();

  testing::TemporaryDirectory directory_;
  PosixProcessLauncher launcher_;
  RecordingSink sink_;
  std::unique_ptr<RankGroup> group_;

 private:
  std::thread thread_;
  RankGroupResult result_;
};

}  // namespace longlora::worker

#endif  // LONGLORA_TESTS_WORKER_SUPERVISOR_TRAINER_FIXTURE_H_
