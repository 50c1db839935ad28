#include "client/cli/views.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "client/cli/event_lines.h"
#include "client/cli/format.h"
#include "client/cli/progress.h"
#include "client/cli/table.h"
#include "client/resource_name.h"
#include "nlohmann/json.hpp"
#include "rpc/spec_json.h"

namespace longlora::client {
namespace {

std::string Ago(const google::protobuf::Timestamp& time, absl::Time now) {
  return ShortDuration(now - ToTime(time));
}

std::string StepOf(const v1::FineTuneJob& job) {
  int64_t total = job.progress().total_steps();
  if (total == 0 && job.spec().training().has_max_steps())
    total = job.spec().training().max_steps();
  if (job.progress().step() == 0 && total == 0) return "-";
  return absl::StrCat(FormatInteger(job.progress().step()), "/",
                      total > 0 ? FormatInteger(total) : "?");
}

std::string LossOf(const v1::FineTuneJob& job) {
  return job.progress().step() > 0 ? FormatLoss(job.progress().loss()) : "-";
}

// "Key        value" lines of a section.
void Line(std::string& text, absl::string_view key, absl::string_view value) {
  if (!value.empty()) absl::StrAppend(&text, absl::StrFormat("%-12s", key), Printable(value), "\n");
}

std::string TimeAndAge(const google::protobuf::Timestamp& time, absl::Time now,
                       absl::TimeZone zone) {
  return absl::StrCat(DateAndTime(ToTime(time), zone), " (", Ago(time, now), " ago)");
}

void AppendProgress(std::string& text, const v1::FineTuneJob& job) {
  if (!job.has_progress()) return;
  const v1::Progress& progress = job.progress();
  Line(text, "Step", StepOf(job));
  Line(text, "Loss",
       absl::StrCat(FormatLoss(progress.loss()), ", gradient norm ",
                    absl::StrFormat("%.3g", progress.grad_norm()), ", learning rate ",
                    absl::StrFormat("%.3g", progress.learning_rate())));
  if (progress.has_validation_loss()) {
    Line(text, "Validation",
         absl::StrFormat("loss %s, perplexity %.2f", FormatLoss(progress.validation_loss()),
                         std::exp(progress.validation_loss())));
  }
  Line(text, "Speed",
       absl::StrCat(FormatQuantity(progress.tokens_per_second()), " tokens/s, ",
                    FormatInteger(progress.tokens()), " tokens so far"));
  if (progress.memory_peak_bytes() > 0) {
    Line(text, "Memory",
         absl::StrCat(FormatBytes(progress.memory_peak_bytes()), " at most on rank 0"));
  }
  if (progress.has_remaining_seconds() && job.state() == v1::FineTuneJob::RUNNING) {
    Line(text, "Left", ShortDuration(absl::Seconds(progress.remaining_seconds())));
  }
}

void AppendAttempts(std::string& text, const v1::FineTuneJob& job, absl::Time now) {
  if (job.attempts_size() == 0) return;
  std::vector<std::vector<std::string>> rows;
  for (const v1::Attempt& attempt : job.attempts()) {
    const absl::Time end = attempt.has_end_time() ? ToTime(attempt.end_time()) : now;
    rows.push_back({absl::StrCat(attempt.number()), v1::Attempt::State_Name(attempt.state()),
                    attempt.worker(), FormatInteger(attempt.start_step()),
                    ShortDuration(end - ToTime(attempt.start_time())),
                    attempt.has_failure()    ? DescribeFailure(attempt.failure())
                    : attempt.has_eviction() ? Printable(attempt.eviction().message())
                                             : "-"});
  }
  absl::StrAppend(
      &text, "\nAttempts\n",
      RenderTable({"NUMBER", "STATE", "WORKER", "FROM STEP", "TOOK", "WHY IT ENDED"}, rows, "  "));
}

std::string Scalar(const nlohmann::ordered_json& value) {
  return Printable(value.is_string() ? value.get<std::string>() : value.dump());
}

// As a job file would have it.
void AppendYaml(std::string& text, const nlohmann::ordered_json& object,
                const std::string& indent) {
  for (const auto& [key, value] : object.items()) {
    absl::StrAppend(&text, indent, key, ":");
    if (value.is_object()) {
      absl::StrAppend(&text, "\n");
      AppendYaml(text, value, indent + "  ");
      continue;
    }
    if (!value.is_array()) {
      absl::StrAppend(&text, " ", Scalar(value), "\n");
      continue;
    }
    std::vector<std::string> elements;
    for (const auto& element : value) elements.push_back(Scalar(element));
    absl::StrAppend(&text, " [", absl::StrJoin(elements, ", "), "]\n");
  }
}

void AppendSpec(std::string& text, const v1::FineTuneJob& job) {
  const absl::StatusOr<std::string> json = rpc::SpecToJson(job.spec());
  if (!json.ok()) return;
  const auto spec = nlohmann::ordered_json::parse(*json, nullptr, /*allow_exceptions=*/false);
  if (!spec.is_object()) return;
  absl::StrAppend(&text, "\nSpec\n");
  AppendYaml(text, spec, "  ");
}

std::string DevicesOf(const v1::Worker& worker) {
  std::map<std::string, std::pair<int, int>> free_and_all;  // by kind
  for (const v1::Device& device : worker.devices()) {
    auto& [free, all] = free_and_all[device.kind()];
    if (device.job().empty()) ++free;
    ++all;
  }
  std::vector<std::string> parts;
  for (const auto& [kind, counts] : free_and_all) {
    parts.push_back(absl::StrCat(counts.first, "/", counts.second, " ", kind));
  }
  return parts.empty() ? "none" : absl::StrJoin(parts, ", ");
}

std::string JobsOf(const v1::Worker& worker) {
  std::vector<std::string> jobs;
  for (const v1::Device& device : worker.devices()) {
    if (device.job().empty()) continue;
    const std::string id(ShortName(device.job()));
    if (std::find(jobs.begin(), jobs.end(), id) == jobs.end()) jobs.push_back(id);
  }
  return jobs.empty() ? "-" : absl::StrJoin(jobs, ", ");
}

std::string VerdictOf(const v1::WorkerFit& fit, int rank_count) {
  switch (fit.verdict()) {
    case v1::WorkerFit::FITS:
      return "yes";
    case v1::WorkerFit::TOO_LITTLE_MEMORY:
      return "no, too little memory";
    case v1::WorkerFit::TOO_FEW_DEVICES:
      return absl::StrCat("no, the job asks for ", rank_count, " device(s)");
    default:
      return "unknown";
  }
}

}  // namespace

std::string RenderJob(const v1::FineTuneJob& job, absl::Time now, absl::TimeZone zone) {
  std::string text;
  Line(text, "Name", job.name());
  Line(text, "Label", job.spec().display_name());
  Line(text, "State", v1::FineTuneJob::State_Name(job.state()));
  if (job.has_schedule_reason()) {
    Line(text, "Waits for", DescribeWait(job.schedule_reason()));
    Line(text, "Jobs ahead", absl::StrCat(job.schedule_reason().jobs_ahead()));
    if (job.schedule_reason().has_estimated_start_time()) {
      const absl::Duration left = ToTime(job.schedule_reason().estimated_start_time()) - now;
      Line(text, "Starts in", ShortDuration(std::max(left, absl::ZeroDuration())));
    }
  }
  if (job.has_failure()) Line(text, "Failure", DescribeFailure(job.failure()));
  if (job.has_create_time()) Line(text, "Created", TimeAndAge(job.create_time(), now, zone));
  if (job.has_start_time()) Line(text, "Started", TimeAndAge(job.start_time(), now, zone));
  if (job.has_end_time()) {
    std::string ended = DateAndTime(ToTime(job.end_time()), zone);
    if (job.has_start_time()) {
      absl::StrAppend(&ended, " (took ",
                      ShortDuration(ToTime(job.end_time()) - ToTime(job.start_time())), ")");
    }
    Line(text, "Ended", ended);
  }
  AppendProgress(text, job);
  Line(text, "Time", DescribeLedger(job.ledger()));
  AppendAttempts(text, job, now);
  AppendSpec(text, job);
  return text;
}

std::string RenderJobs(const std::vector<v1::FineTuneJob>& jobs, absl::Time now) {
  std::vector<std::vector<std::string>> rows;
  for (const v1::FineTuneJob& job : jobs) {
    rows.push_back({std::string(ShortName(job.name())), v1::FineTuneJob::State_Name(job.state()),
                    StepOf(job), LossOf(job), Ago(job.create_time(), now),
                    job.has_schedule_reason() ? DescribeWait(job.schedule_reason()) : "-"});
  }
  return RenderTable({"NAME", "STATE", "STEP", "LOSS", "AGE", "WAITS FOR"}, rows);
}

std::string RenderWorkers(const v1::ListWorkersResponse& workers, absl::Time now) {
  std::vector<std::vector<std::string>> rows;
  for (const v1::Worker& worker : workers.workers()) {
    const bool open = worker.scheduling() == v1::Worker::OPEN ||
                      worker.scheduling() == v1::Worker::SCHEDULING_UNSPECIFIED;
    const std::string scheduling =
        open ? "" : absl::StrCat(", ", v1::Worker::Scheduling_Name(worker.scheduling()));
    rows.push_back({worker.name(), absl::StrCat(v1::Worker::State_Name(worker.state()), scheduling),
                    DevicesOf(worker), JobsOf(worker),
                    worker.models_size() > 0 ? absl::StrJoin(worker.models(), ", ") : "-",
                    worker.version(), Ago(worker.last_contact_time(), now)});
  }
  return RenderTable({"NAME", "STATE", "FREE DEVICES", "JOBS", "MODELS", "VERSION", "LAST CONTACT"},
                     rows);
}

std::string RenderEstimate(const v1::EstimateFineTuneJobResponse& estimate) {
  std::vector<std::vector<std::string>> rows;
  for (const v1::MemoryComponent& component : estimate.components()) {
    rows.push_back({component.name(), FormatBytes(component.bytes()), component.description()});
  }
  rows.push_back({"a rank", FormatBytes(estimate.total_bytes()),
                  absl::StrCat("the sum, in ", estimate.moment())});
  if (estimate.rank_count() > 1) {
    rows.push_back({"all ranks", FormatBytes(estimate.rank_count() * estimate.total_bytes()),
                    absl::StrCat(estimate.rank_count(), " of them, at most")});
  }
  std::string text = RenderTable({"MEMORY", "SIZE", "WHAT"}, rows);
  if (estimate.workers_size() == 0) return text;
  rows.clear();
  for (const v1::WorkerFit& fit : estimate.workers()) {
    rows.push_back({fit.worker(), VerdictOf(fit, estimate.rank_count()),
                    absl::StrCat(fit.device_count()),
                    fit.device_memory_bytes() > 0 ? FormatBytes(fit.device_memory_bytes()) : "-"});
  }
  absl::StrAppend(&text, "\n", RenderTable({"WORKER", "FITS", "DEVICES", "MEMORY EACH"}, rows));
  return text;
}

std::string RenderCheckpoints(const v1::ListCheckpointsResponse& checkpoints, absl::Time now) {
  std::vector<std::vector<std::string>> rows;
  for (const v1::Checkpoint& checkpoint : checkpoints.checkpoints()) {
    rows.push_back({FormatInteger(checkpoint.step()),
                    checkpoint.has_loss() ? FormatLoss(checkpoint.loss()) : "-",
                    FormatBytes(checkpoint.size_bytes()), absl::StrCat(checkpoint.artifacts_size()),
                    absl::StrCat(checkpoint.attempt()), Ago(checkpoint.create_time(), now)});
  }
  return RenderTable({"STEP", "LOSS", "SIZE", "FILES", "ATTEMPT", "AGE"}, rows);
}

}  // namespace longlora::client
