// Which queues there are and what each may use: the operator's file, read once when the server
// starts.
//
//   half_life: 168h              # of usage, for fair shares; default 168h
//   min_run_time: 10m            # no job is preempted before; default 10m
//   reclaim: true                # nominal quotas are taken back from borrowers; default true
//   queues:
//     - name: research
//       nominal: {cuda: 8}       # devices it can always have; default none
//       borrowing_limit: {cuda: 4}  # more, while they are free; default as many as are free
//       weight: 2.0              # of its fair share; default 1
//       preempt_lower_priority: true  # within the queue; default false
//       max_duration: 72h        # longest time that a job of it may hold devices; default none
//
// A queue `default` always exists: without a file the only one, without limits.
#ifndef LONGLORA_SERVER_SCHEDULER_QUEUE_CONFIG_H_
#define LONGLORA_SERVER_SCHEDULER_QUEUE_CONFIG_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace longlora::server {

inline constexpr absl::string_view kDefaultQueue = "default";

// Of one kind of device.
struct DeviceQuotaConfig {
  int32_t nominal = 0;
  std::optional<int32_t> borrowing_limit;  // unset: no limit
};

struct QueueConfig {
  // By kind of device, "cpu" and "cuda"; one that is missing has the defaults.
  std::map<std::string, DeviceQuotaConfig, std::less<>> quotas;
  double weight = 1.0;  // above 0
  bool preempt_lower_priority = false;
  std::optional<absl::Duration> max_duration;

  DeviceQuotaConfig QuotaOf(absl::string_view kind) const;
  // The most devices of a kind that its jobs may have together; nullopt: no limit.
  std::optional<int32_t> LimitOf(absl::string_view kind) const;
};

struct QueuesConfig {
  absl::Duration half_life = absl::Hours(168);
  absl::Duration min_run_time = absl::Minutes(10);
  bool reclaim = true;
  std::map<std::string, QueueConfig, std::less<>> queues = {
      {std::string(kDefaultQueue), QueueConfig()}};

  // nullptr: there is no such queue.
  const QueueConfig* Find(absl::string_view name) const;
};

// INVALID_ARGUMENT names every mistake with its place, like `queues[1].weight`.
absl::StatusOr<QueuesConfig> ParseQueuesConfig(const std::string& yaml);
// Besides NOT_FOUND and the like when the file cannot be read.
absl::StatusOr<QueuesConfig> ReadQueuesConfig(const std::string& path);

}  // namespace longlora::server

#endif  // LONGLORA_SERVER_SCHEDULER_QUEUE_CONFIG_H_
