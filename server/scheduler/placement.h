// Which queued job runs where, and why the others wait. Pure: no clock, no lock, no store; the
// scheduler calls it with what it knows and applies the answer.
//
// Jobs are taken by priority, then by age. All devices of a job lie on one worker; of those that
// fit, the one with the fewest devices left over. A job that must wait for devices reserves the
// worker that is nearest to having them, so that smaller jobs behind it cannot starve it; jobs
// behind it that compete for the same workers reserve nothing more, so that the rest of the
// machines stays in use.
#ifndef LONGLORA_SERVER_SCHEDULER_PLACEMENT_H_
#define LONGLORA_SERVER_SCHEDULER_PLACEMENT_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "longlora/v1/fine_tune_spec.pb.h"

namespace longlora::server {

enum class WaitReason { kNoWorker, kNoModel, kNoDevices, kWaitingForDevices, kBackOff };

// ScheduleReason.code.
absl::string_view WaitReasonCode(WaitReason reason);

// What a job asks for; views are the caller's.
struct PlacementRequest {
  absl::string_view id;
  int32_t priority = 0;
  int64_t order = 0;  // of creation
  absl::string_view base_model;
  absl::string_view initial_adapter;  // empty: none
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
};

struct PlacedJob {
  std::string job;
  std::string worker;
  std::vector<std::string> device_ids;
};

struct WaitingJob {
  std::string job;
  WaitReason reason = WaitReason::kNoWorker;
  int32_t jobs_ahead = 0;  // that wait for the same kind of thing and are placed first
};

struct PlacementPlan {
  std::vector<PlacedJob> placed;
  std::vector<WaitingJob> waiting;
};

PlacementPlan PlanPlacement(std::vector<PlacementRequest> jobs,
                            std::vector<PlacementWorker> workers);

// Whether a worker with these models and roots can read `model`: a name in `models`, or an absolute
// path, without "..", below one of `allowed_roots`.
bool CanRead(absl::string_view model, const std::vector<std::string>& models,
             const std::vector<std::string>& allowed_roots);

// What a spec asks for, with its defaults.
absl::string_view DeviceKindOf(const v1::FineTuneSpec& spec);
int32_t DeviceCountOf(const v1::FineTuneSpec& spec);

}  // namespace longlora::server

#endif  // LONGLORA_SERVER_SCHEDULER_PLACEMENT_H_
