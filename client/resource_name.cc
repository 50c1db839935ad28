#include "client/resource_name.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/ids/names.h"
#include "common/io/sha256.h"

namespace longlora::client {
namespace {

constexpr absl::string_view kJobs = "fineTuneJobs/";
constexpr absl::string_view kFiles = "files/";
constexpr absl::string_view kWorkers = "workers/";
constexpr absl::string_view kQueues = "queues/";

}  // namespace

absl::StatusOr<std::string> JobName(absl::string_view text) {
  absl::string_view id = text;
  absl::ConsumePrefix(&id, kJobs);
  if (!common::IsJobId(id)) {
    return absl::InvalidArgumentError(
        absl::StrCat("\"", text,
                     "\" is not the name of a job: expected fineTuneJobs/ID or ID, where "
                     "ID has 4 to 63 of a-z, 0-9 and -; `longlora list` shows them"));
  }
  return absl::StrCat(kJobs, id);
}

absl::StatusOr<std::string> WorkerName(absl::string_view text) {
  absl::string_view id = text;
  absl::ConsumePrefix(&id, kWorkers);
  if (!common::IsWorkerId(id)) {
    return absl::InvalidArgumentError(
        absl::StrCat("\"", text,
                     "\" is not the name of a worker: expected workers/ID or ID, where ID has 1 to "
                     "63 of a-z, 0-9, - and .; `longlora workers` shows them"));
  }
  return absl::StrCat(kWorkers, id);
}

absl::StatusOr<std::string> QueueName(absl::string_view text) {
  absl::string_view id = text;
  absl::ConsumePrefix(&id, kQueues);
  if (!common::IsQueueName(id)) {
    return absl::InvalidArgumentError(
        absl::StrCat("\"", text,
                     "\" is not the name of a queue: expected NAME of 1 to 63 of a-z, 0-9 and -; "
                     "`longlora queue` shows them"));
  }
  return absl::StrCat(kQueues, id);
}

absl::string_view ShortName(absl::string_view name) {
  absl::ConsumePrefix(&name, kJobs);
  return name;
}

std::string FileName(absl::string_view sha256) { return absl::StrCat(kFiles, sha256); }

bool IsFileName(absl::string_view text) {
  return absl::ConsumePrefix(&text, kFiles) && common::IsSha256Hex(text);
}

}  // namespace longlora::client
