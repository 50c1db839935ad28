// Which attempt of which job: the fence that everything a worker sends carries. Plain data.
#ifndef LONGLORA_WORKER_AGENT_ATTEMPT_ID_H_
#define LONGLORA_WORKER_AGENT_ATTEMPT_ID_H_

#include <cstdint>
#include <string>
#include <tuple>

#include "absl/strings/str_cat.h"

namespace longlora::worker {

struct AttemptId {
  std::string job;      // "fineTuneJobs/{id}"
  int32_t attempt = 0;  // fencing token, from 1

  friend bool operator<(const AttemptId& a, const AttemptId& b) {
    return std::tie(a.job, a.attempt) < std::tie(b.job, b.attempt);
  }
  friend bool operator==(const AttemptId& a, const AttemptId& b) {
    return std::tie(a.job, a.attempt) == std::tie(b.job, b.attempt);
  }
  // For people.
  std::string ToString() const { return absl::StrCat(job, " attempt ", attempt); }
};

}  // namespace longlora::worker

#endif  // LONGLORA_WORKER_AGENT_ATTEMPT_ID_H_
