// Workers that do nothing but talk: take jobs and let them fail at once, or send steps of them.
#ifndef LONGLORA_BENCH_SCHEDULER_LOAD_WORKERS_H_
#define LONGLORA_BENCH_SCHEDULER_LOAD_WORKERS_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "nlohmann/json.hpp"

namespace longlora::bench {

struct FleetLoad {
  int workers = 1000;
  int devices = 8;  // of each
};

// Takes `count` jobs of the queue; each ends at once by its own fault, so that its device is free
// for the next. per_second.
absl::StatusOr<nlohmann::json> RunDispatch(const std::string& server, const FleetLoad& fleet,
                                           int count);

// Workers without devices, which only keep in touch. calls_per_second.
absl::StatusOr<nlohmann::json> RunIdle(const std::string& server, int workers,
                                       absl::Duration duration);

// Sends steps of `jobs` jobs, `batch` to a call, for `duration`. events_per_second.
absl::StatusOr<nlohmann::json> RunEvents(const std::string& server, int jobs, int batch,
                                         absl::Duration duration);

}  // namespace longlora::bench

#endif  // LONGLORA_BENCH_SCHEDULER_LOAD_WORKERS_H_
