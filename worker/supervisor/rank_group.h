// The ranks of an attempt on this node: one trainer process a device, which live and die as one.
// Any rank's death ends all; nothing of the group is left when Run returns. The first error
// decides, unless it only tells of a lost peer. The agent's attempt calls Run on a thread of its
// own; Stop and Kill may be called from any thread.
#ifndef LONGLORA_WORKER_SUPERVISOR_RANK_GROUP_H_
#define LONGLORA_WORKER_SUPERVISOR_RANK_GROUP_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "common/io/unique_fd.h"
#include "common/time/clock.h"
#include "common/trainer_protocol/trainer_event.h"
#include "worker/supervisor/device.h"
#include "worker/supervisor/oom_watch.h"
#include "worker/supervisor/process.h"
#include "worker/supervisor/rank.h"
#include "worker/supervisor/rank_verdict.h"

namespace longlora::worker {

// Receives the group's events, on the thread of RankGroup::Run.
class EventSink {
 public:
  virtual ~EventSink() = default;
  // An error ends the group: RESOURCE_EXHAUSTED as DISK_FULL, others as TRAINER_ERROR.
  virtual absl::Status OnEvent(const common::TrainerEvent& event) = 0;
};

struct RankGroupSpec {
  std::string trainer;                 // path of the program
  std::vector<std::string> arguments;  // all but --events-fd
  std::vector<Device> devices;         // one rank each, in order; at least one
  std::string mark;           // value of kAttemptVariable, unique among attempts of all workers
  std::string record_path;    // durable record of the processes, see process_record.h
  std::string log_directory;  // gets rank-N.log
  std::string directory;      // the ranks work in
  std::vector<std::string> environment;  // to inherit, NAME=value
  // From SIGTERM to SIGKILL after a rank died: the rest cannot go on.
  absl::Duration failure_grace = absl::Seconds(5);
  absl::Duration hang_timeout = absl::Minutes(30);  // without an event, after `prepared`
  RankLogLimits log_limits;
};

struct RankGroupResult {
  enum class End { kSucceeded, kStopped, kFailed };
  End end = End::kFailed;
  RankFailure failure;  // when kFailed
};

// The ranks of an attempt as the agent handles them: RankGroup, or the simulator's.
class Ranks {
 public:
  virtual ~Ranks() = default;

  // Starts the ranks and returns when the last is gone. Call once.
  virtual RankGroupResult Run() = 0;
  // SIGTERM, `grace`, SIGKILL. Run then returns kStopped, or kSucceeded if the ranks were done.
  // Also before Run, and again with a shorter grace.
  virtual void Stop(absl::Duration grace) = 0;
  // SIGKILL at once.
  virtual void Kill() = 0;
};

// Makes the ranks of an attempt; `sink` outlives them.
using RankStarter = std::function<std::unique_ptr<Ranks>(RankGroupSpec spec, EventSink* sink)>;

class RankGroup : public Ranks {
 public:
  // `launcher`, `sink` and `clock` must outlive it.
  RankGroup(RankGroupSpec spec, ProcessLauncher* launcher, EventSink* sink, common::Clock* clock);

  RankGroupResult Run() override;
  void Stop(absl::Duration grace) override;
  void Kill() override;

 private:
  void Wake();
  absl::Status StartRanks();
  absl::Status LaunchRanks();
  void PollOnce();
  absl::Duration TimeToNextDeadline();
  void HandleEvent(const common::TrainerEvent& event);
  void HandleExit(Rank& rank);
  void HandleRequests();
  void CheckDeadlines();
  void Fail(RankFailure failure);
  // SIGTERM now, unless it was sent, and SIGKILL after `grace` at the latest.
  void EndWithin(absl::Duration grace);
  void KillAll();
  bool AnyAlive() const;
  void EndStragglers();
  RankGroupResult Conclude();

  const RankGroupSpec spec_;
  ProcessLauncher* const launcher_;
  EventSink* const sink_;
  common::Clock* const clock_;
  const OomWatch oom_watch_;
  common::UniqueFd wake_fd_;

  absl::Mutex mutex_;
  std::optional<absl::Duration> stop_grace_ ABSL_GUARDED_BY(mutex_);  // set: asked to stop
  bool kill_requested_ ABSL_GUARDED_BY(mutex_) = false;

  // Of Run's thread.
  std::vector<std::unique_ptr<Rank>> ranks_;
  std::optional<RankFailure> failure_;
  std::optional<absl::Duration> granted_grace_;  // set: ending because it was asked to
  bool killed_ = false;                          // SIGKILL was sent to all
  bool finished_ = false;                        // rank 0 reported results
  bool prepared_ = false;
  common::MonotonicTime last_event_time_;
  std::optional<common::MonotonicTime> kill_time_;  // end of the grace, once ending
};

}  // namespace longlora::worker

#endif  // LONGLORA_WORKER_SUPERVISOR_RANK_GROUP_H_
