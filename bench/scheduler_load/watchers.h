// Users that watch one job, each on a stream of its own.
#ifndef LONGLORA_BENCH_SCHEDULER_LOAD_WATCHERS_H_
#define LONGLORA_BENCH_SCHEDULER_LOAD_WATCHERS_H_

#include <string>

#include "absl/status/statusor.h"
#include "nlohmann/json.hpp"

namespace longlora::bench {

// Opens `count` streams on a new job, then cancels the job and waits until every stream has ended,
// as it does after the last event. open_seconds, deliver_seconds, failures.
absl::StatusOr<nlohmann::json> RunWatchers(const std::string& server, int count);

}  // namespace longlora::bench

#endif  // LONGLORA_BENCH_SCHEDULER_LOAD_WATCHERS_H_
