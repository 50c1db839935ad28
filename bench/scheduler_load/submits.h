// Clients that submit jobs: as fast as the server takes them, or so many a second.
#ifndef LONGLORA_BENCH_SCHEDULER_LOAD_SUBMITS_H_
#define LONGLORA_BENCH_SCHEDULER_LOAD_SUBMITS_H_

#include <string>

#include "absl/status/statusor.h"
#include "nlohmann/json.hpp"

namespace longlora::bench {

struct SubmitLoad {
  int count = 20'000;
  int in_flight = 256;    // calls at a time, at most
  double per_second = 0;  // 0: as fast as possible. A call's time counts from when it was due
};

// per_second (that succeeded), p50_ms, p99_ms, failures, first_error.
absl::StatusOr<nlohmann::json> RunSubmits(const std::string& server, const SubmitLoad& load);

}  // namespace longlora::bench

#endif  // LONGLORA_BENCH_SCHEDULER_LOAD_SUBMITS_H_
