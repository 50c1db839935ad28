// Which queued job runs where, why the others wait, and which running ones must make room. Pure: no
// clock, no lock, no store; the scheduler calls it with what it knows and applies the answer.
//
// Queues take turns: one whose next job is within its nominal quota comes before one that would
// borrow, then the one that used the least for its weight. Within a queue jobs are taken by
// priority, then by age, and none overtakes one that waits for the queue's quota.
//
// All devices of a job lie on one worker; of those that fit, the one with the fewest devices left
// over. A job that must wait for devices reserves the worker that is nearest to having them, so
// that smaller jobs behind it cannot starve it; jobs behind it that compete for the same workers
// reserve nothing more, so that the rest of the machines stays in use.
//
// A job within its queue's nominal quota, or one of a queue that preempts its own lower priorities,
// makes room instead: see preemption.h.
#ifndef LONGLORA_SERVER_SCHEDULER_PLACEMENT_H_
#define LONGLORA_SERVER_SCHEDULER_PLACEMENT_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "longlora/v1/fine_tune_spec.pb.h"
#include "server/scheduler/queue_config.h"

namespace longlora::server {

enum class WaitReason {
  kNoWorker,
  kNoModel,
  kNoDevices,
  kWaitingForDevices,
  kWaitingForQuota,
  kQuotaTooSmall,
  kNoQueue,
  kBackOff
};

inline constexpr WaitReason kWaitReasons[] = {
    WaitReason::kNoWorker,          WaitReason::kNoModel,         WaitReason::kNoDevices,
    WaitReason::kWaitingForDevices, WaitReason::kWaitingForQuota, WaitReason::kQuotaTooSmall,
    WaitReason::kNoQueue,           WaitReason::kBackOff};

// ScheduleReason.code.
absl::string_view WaitReasonCode(WaitReason reason);

// What a job asks for; views are the caller's.
struct PlacementRequest {
  absl::string_view id;
  absl::string_view queue = kDefaultQueue;
  int32_t priority = 0;
  int64_t order = 0;  // of creation
  int64_t stay = 0;   // which time the job waits; the caller's, to know it again
  absl::string_view base_model;
  absl::string_view initial_adapter;  // empty: none
  std::vector<absl::string_view> worker_labels;
  absl::string_view device_kind;
  int32_t device_count = 1;  // at least 1
  bool backing_off = false;
};

// A worker that can be given work.
struct PlacementWorker {
  std::string id;
  std::vector<std::string> models;
  std::vector<std::string> allowed_roots;
  struct DeviceState {
    std::string id;
    std::string kind;
    bool used = false;
  };
  std::vector<DeviceState> devices;
  std::vector<std::string> labels = {};
};

// A job that has devices, also one on a worker that can be given none.
struct RunningJob {
  std::string id;
  std::string queue = std::string(kDefaultQueue);
  int32_t priority = 0;
  std::string worker;  // id
  std::string device_kind;
  int32_t device_count = 1;
  bool leaving = false;  // it was asked to end: its devices come free without more ado
  // What its devices have computed and would compute again: since its last checkpoint, or its
  // start.
  absl::Duration unsaved;
  absl::Duration run_time;  // of its present attempt
  // How long that will still need; infinite: cannot be told.
  absl::Duration remaining = absl::InfiniteDuration();
};

struct PlacementInput {
  std::vector<PlacementRequest> jobs;
  std::vector<PlacementWorker> workers;
  std::vector<RunningJob> running;
  const QueuesConfig* queues = nullptr;  // not null
  // Device-seconds by queue, decayed (queue_usage.h); one that is missing has used nothing.
  std::map<std::string, double, std::less<>> usage;
};

// `request` and `job`: its place in PlacementInput.jobs, and its id there.
struct PlacedJob {
  size_t request = 0;
  absl::string_view job;
  std::string worker;
  std::vector<std::string> device_ids;
};

struct WaitingJob {
  size_t request = 0;
  absl::string_view job;
  WaitReason reason = WaitReason::kNoWorker;
  int32_t jobs_ahead = 0;  // that wait for the same reason and are placed first
};

struct PreemptedJob {
  absl::string_view job;          // of PlacementInput.running
  absl::string_view in_favor_of;  // of PlacementInput.jobs
};

struct PlacementPlan {
  std::vector<PlacedJob> placed;
  std::vector<WaitingJob> waiting;  // in the order in which they are placed
  std::vector<PreemptedJob> preempted;
  // A job that could make room cannot yet, because those that run have not had their time: worth
  // another look after so long.
  absl::Duration retry_after = absl::InfiniteDuration();
};

PlacementPlan PlanPlacement(const PlacementInput& input);

// Whether a worker with these models and roots can read `model`: a name in `models`, or an absolute
// path, without "..", below one of `allowed_roots`.
bool CanRead(absl::string_view model, const std::vector<std::string>& models,
             const std::vector<std::string>& allowed_roots);

// What a spec asks for, with its defaults.
absl::string_view DeviceKindOf(const v1::FineTuneSpec& spec);
int32_t DeviceCountOf(const v1::FineTuneSpec& spec);
absl::string_view QueueOf(const v1::FineTuneSpec& spec);

}  // namespace longlora::server

#endif  // LONGLORA_SERVER_SCHEDULER_PLACEMENT_H_
