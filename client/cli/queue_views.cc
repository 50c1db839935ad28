// What `queue` shows, and where a job's device time went.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "client/cli/format.h"
#include "client/cli/table.h"
#include "client/cli/views.h"
#include "client/resource_name.h"

namespace longlora::client {
namespace {

std::string QuotaOf(const v1::DeviceQuota& quota) {
  const std::string borrowing =
      quota.has_borrowing_limit() ? absl::StrCat(quota.borrowing_limit()) : "any";
  return absl::StrCat(quota.kind(), " ", quota.used(), " used, ", quota.nominal(), " nominal + ",
                      borrowing);
}

std::string QuotasOf(const v1::Queue& queue) {
  std::vector<std::string> parts;
  for (const v1::DeviceQuota& quota : queue.quotas()) parts.push_back(QuotaOf(quota));
  return parts.empty() ? "-" : absl::StrJoin(parts, "; ");
}

std::string StartOf(const v1::QueuedJob& job, absl::Time now) {
  if (!job.reason().has_estimated_start_time()) return "-";
  const absl::Duration left = ToTime(job.reason().estimated_start_time()) - now;
  return absl::StrCat("in ", ShortDuration(std::max(left, absl::ZeroDuration())));
}

}  // namespace

std::string RenderQueues(const v1::ListQueuesResponse& queues) {
  std::vector<std::vector<std::string>> rows;
  for (const v1::Queue& queue : queues.queues()) {
    rows.push_back({absl::StrCat(absl::StripPrefix(queue.name(), "queues/"),
                                 queue.configured() ? "" : " (not configured)"),
                    QuotasOf(queue), absl::StrFormat("%g", queue.weight()),
                    absl::StrFormat("%.1f h", queue.weighted_usage() / 3600.0),
                    absl::StrCat(queue.running_job_count()),
                    absl::StrCat(queue.queued_job_count())});
  }
  std::string text =
      RenderTable({"QUEUE", "DEVICES", "WEIGHT", "WEIGHTED USAGE", "RUNNING", "WAITING"}, rows);
  rows.clear();
  for (const v1::Queue& queue : queues.queues()) {
    const std::string ledger = DescribeLedger(queue.ledger());
    if (ledger.empty()) continue;
    rows.push_back({std::string(absl::StripPrefix(queue.name(), "queues/")), ledger});
  }
  if (!rows.empty()) {
    absl::StrAppend(&text, "\n", RenderTable({"QUEUE", "SINCE THE SERVER STARTED"}, rows));
  }
  return text;
}

std::string RenderQueuedJobs(const v1::ListQueuedJobsResponse& jobs, absl::Time now) {
  std::vector<std::vector<std::string>> rows;
  for (const v1::QueuedJob& job : jobs.jobs()) {
    rows.push_back({absl::StrCat(job.place()), std::string(ShortName(job.job())), job.queue(),
                    absl::StrCat(job.priority()),
                    absl::StrCat(job.device_count(), " ", job.device_kind()),
                    ShortDuration(now - ToTime(job.create_time())), StartOf(job, now),
                    absl::StrCat(job.reason().code(), ": ", job.reason().message())});
  }
  return RenderTable({"PLACE", "JOB", "QUEUE", "PRIORITY", "DEVICES", "AGE", "STARTS", "WAITS FOR"},
                     rows);
}

std::string DescribeLedger(const v1::DeviceLedger& ledger) {
  const std::vector<std::pair<const char*, double>> classes = {
      {"training", ledger.training()},     {"recomputed", ledger.recomputed()},
      {"evaluating", ledger.evaluating()}, {"checkpointing", ledger.checkpointing()},
      {"preparing", ledger.preparing()},   {"finishing", ledger.finishing()},
      {"stopping", ledger.stopping()},     {"stalled", ledger.stalled()}};
  double total = 0.0;
  for (const auto& [name, seconds] : classes) total += seconds;
  if (total <= 0.0) return "";
  std::vector<std::string> parts;
  for (const auto& [name, seconds] : classes) {
    if (seconds <= 0.0) continue;
    parts.push_back(absl::StrFormat("%s %.0f%%", name, 100.0 * seconds / total));
  }
  return absl::StrCat(ShortDuration(absl::Seconds(total)),
                      " of devices: ", absl::StrJoin(parts, ", "));
}

}  // namespace longlora::client
