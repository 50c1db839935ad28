#include "server/store/resource_names.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace longlora::server {
namespace {

constexpr absl::string_view kJobs = "fineTuneJobs/";
constexpr absl::string_view kWorkers = "workers/";

bool IsLowerOrDigit(char c) {
  return absl::ascii_islower(static_cast<unsigned char>(c)) ||
         absl::ascii_isdigit(static_cast<unsigned char>(c));
}

bool IsJobId(absl::string_view id) {
  return id.size() >= 4 && id.size() <= 63 &&
         absl::ascii_islower(static_cast<unsigned char>(id.front())) && id.back() != '-' &&
         std::all_of(id.begin(), id.end(), [](char c) { return IsLowerOrDigit(c) || c == '-'; });
}

}  // namespace

std::string JobName(absl::string_view id) { return absl::StrCat(kJobs, id); }

std::string CheckpointName(absl::string_view job_id, int64_t step) {
  return absl::StrCat(kJobs, job_id, "/checkpoints/", step);
}

std::string WorkerName(absl::string_view id) { return absl::StrCat(kWorkers, id); }

absl::StatusOr<std::string> ParseJobName(absl::string_view name) {
  absl::string_view id = name;
  if (!absl::ConsumePrefix(&id, kJobs) || !IsJobId(id)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "\"", name,
        "\" does not name a job; expected fineTuneJobs/{id} with an id of 4 to 63 of a-z, "
        "0-9 and -, starting with a letter"));
  }
  return std::string(id);
}

bool IsWorkerId(absl::string_view id) {
  return !id.empty() && id.size() <= 63 && IsLowerOrDigit(id.front()) &&
         IsLowerOrDigit(id.back()) && std::all_of(id.begin(), id.end(), [](char c) {
           return IsLowerOrDigit(c) || c == '-' || c == '.';
         });
}

}  // namespace longlora::server
