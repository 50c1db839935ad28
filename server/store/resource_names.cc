#include "server/store/resource_names.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/ids/names.h"

namespace longlora::server {
namespace {

constexpr absl::string_view kJobs = "fineTuneJobs/";
constexpr absl::string_view kWorkers = "workers/";
constexpr absl::string_view kQueues = "queues/";

}  // namespace

std::string JobName(absl::string_view id) { return absl::StrCat(kJobs, id); }

std::string CheckpointName(absl::string_view job_id, int64_t step) {
  return absl::StrCat(kJobs, job_id, "/checkpoints/", step);
}

std::string WorkerName(absl::string_view id) { return absl::StrCat(kWorkers, id); }

std::string QueueName(absl::string_view id) { return absl::StrCat(kQueues, id); }

absl::StatusOr<std::string> ParseJobName(absl::string_view name) {
  absl::string_view id = name;
  if (!absl::ConsumePrefix(&id, kJobs) || !common::IsJobId(id)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "\"", name,
        "\" does not name a job; expected fineTuneJobs/{id} with an id of 4 to 63 of a-z, "
        "0-9 and -, starting with a letter"));
  }
  return std::string(id);
}

absl::StatusOr<std::string> ParseWorkerName(absl::string_view name) {
  absl::string_view id = name;
  if (absl::ConsumePrefix(&id, kWorkers) && common::IsWorkerId(id)) return std::string(id);
  return absl::InvalidArgumentError(
      absl::StrCat("\"", name, "\" is no worker's name: workers/{id}"));
}

absl::StatusOr<std::string> ParseQueueName(absl::string_view name) {
  absl::string_view id = name;
  if (absl::ConsumePrefix(&id, kQueues) && common::IsQueueName(id)) return std::string(id);
  return absl::InvalidArgumentError(absl::StrCat("\"", name, "\" is no queue's name: queues/{id}"));
}

}  // namespace longlora::server
