#include "server/scheduler/worker_registry.h"

#include <google/protobuf/util/message_differencer.h>

#include <algorithm>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/ids/names.h"
#include "common/status/status_macros.h"
#include "rpc/grpc_status.h"
#include "server/store/resource_names.h"
#include "server/store/timestamps.h"

namespace longlora::server {
namespace {

// Limits of what one worker may say of itself.
constexpr int kDevicesMax = 1024;
constexpr int kModelsMax = 10'000;
constexpr int kRootsMax = 256;
constexpr int kLabelsMax = 64;
constexpr size_t kConfigBytesMax = 64 << 10;
constexpr size_t kConfigBytesInAllMax = 1 << 20;
constexpr size_t kSupersededMax = 16;
constexpr size_t kIncarnationMax = 128;

absl::Status WorkerInvalid(absl::string_view message) {
  return rpc::MakeError(absl::StatusCode::kInvalidArgument, message, {"WORKER_INVALID", {}, {}});
}

absl::Status CheckDevices(const worker::v1::SynchronizeRequest& request) {
  std::set<absl::string_view> ids;
  for (const v1::Device& device : request.devices()) {
    if (device.id().empty()) return WorkerInvalid("devices.id: must not be empty");
    if (!ids.insert(device.id()).second) {
      return WorkerInvalid(absl::StrCat("devices.id: \"", device.id(), "\" is listed twice"));
    }
    if (device.kind() != "cpu" && device.kind() != "cuda") {
      return WorkerInvalid(absl::StrCat("devices.kind: \"", device.kind(), "\" of ", device.id(),
                                        "; expected cpu or cuda"));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckConfigs(const worker::v1::SynchronizeRequest& request) {
  size_t bytes = 0;
  for (const worker::v1::ModelConfig& config : request.model_configs()) {
    bytes += config.config_json().size();
    if (config.config_json().size() <= kConfigBytesMax && bytes <= kConfigBytesInAllMax) continue;
    return WorkerInvalid(absl::StrCat("model_configs: at most ", kConfigBytesMax,
                                      " bytes each and ", kConfigBytesInAllMax, " in all"));
  }
  if (request.model_configs_size() <= request.models_size()) return absl::OkStatus();
  return WorkerInvalid("model_configs: more than models");
}

absl::Status CheckLabels(const worker::v1::SynchronizeRequest& request) {
  if (request.labels_size() > kLabelsMax) {
    return WorkerInvalid(absl::StrCat("labels: at most ", kLabelsMax));
  }
  for (const std::string& label : request.labels()) {
    if (common::IsWorkerLabel(label)) continue;
    return WorkerInvalid(absl::StrCat("labels: \"", label, "\" is no KEY=VALUE"));
  }
  return absl::OkStatus();
}

absl::Status CheckReport(const worker::v1::SynchronizeRequest& request) {
  if (!common::IsWorkerId(request.worker())) {
    return WorkerInvalid(absl::StrCat("worker: \"", request.worker(),
                                      "\" is no name: 1 to 63 of a-z, 0-9, - and ., beginning and "
                                      "ending with a letter or digit"));
  }
  if (request.incarnation().empty() || request.incarnation().size() > kIncarnationMax) {
    return WorkerInvalid(absl::StrCat("incarnation: 1 to ", kIncarnationMax, " characters"));
  }
  if (request.devices_size() > kDevicesMax || request.models_size() > kModelsMax ||
      request.allowed_roots_size() > kRootsMax) {
    return WorkerInvalid(absl::StrCat("at most ", kDevicesMax, " devices, ", kModelsMax,
                                      " models and ", kRootsMax, " allowed roots"));
  }
  LONGLORA_RETURN_IF_ERROR(CheckConfigs(request));
  LONGLORA_RETURN_IF_ERROR(CheckLabels(request));
  return CheckDevices(request);
}

// More reports than a worker ever has under way.
constexpr int64_t kNumberStep = int64_t{1} << 32;

// An attempt that a report does not mention was lost or never came, but only if the report is newer
// than the attempt: one that lay in a socket would free devices that are in use.
absl::Status CheckOrder(const KnownWorker& worker, const worker::v1::SynchronizeRequest& request) {
  if (request.number() == 0 || request.number() > worker.newest_report) return absl::OkStatus();
  return rpc::MakeError(absl::StatusCode::kAborted,
                        absl::StrCat("report ", request.number(), " of worker ", request.worker(),
                                     " comes after report ", worker.newest_report, ": report anew"),
                        {"REPORT_OUTDATED", {{"worker", request.worker()}}, {}});
}

// A new incarnation ends all that the one before had, so it must not be a dead one whose report lay
// in a socket while the next was already at work. Only who lives can report once more, with a
// number that it has just been told.
absl::Status CheckCandidate(KnownWorker& worker, const worker::v1::SynchronizeRequest& request) {
  const bool confirmed =
      worker.candidate == request.incarnation() && request.number() > worker.candidate_number;
  if (request.number() == 0 || worker.record.incarnation().empty() || confirmed) {
    worker.candidate.clear();
    return absl::OkStatus();
  }
  worker.candidate = request.incarnation();
  // Above all that were told before, lest old reports that come in their old order confirm each
  // other.
  worker.candidate_number = std::max(worker.candidate_number, request.number()) + kNumberStep;
  return rpc::MakeError(
      absl::StatusCode::kAborted,
      absl::StrCat("worker ", request.worker(), " is known as another process: report once more, ",
                   "with a number above ", worker.candidate_number, ", to take its place"),
      {"REPORT_UNCONFIRMED",
       {{"worker", request.worker()}, {"number", absl::StrCat(worker.candidate_number)}},
       {}});
}

internal::v1::WorkerRecord ToRecord(const worker::v1::SynchronizeRequest& request,
                                    absl::Time date) {
  internal::v1::WorkerRecord record;
  v1::Worker& worker = *record.mutable_worker();
  worker.set_name(WorkerName(request.worker()));
  *worker.mutable_devices() = request.devices();
  for (v1::Device& device : *worker.mutable_devices()) device.clear_job();
  *worker.mutable_models() = request.models();
  worker.set_version(request.version());
  *worker.mutable_labels() = request.labels();
  std::sort(worker.mutable_labels()->begin(), worker.mutable_labels()->end());
  *worker.mutable_last_contact_time() = ToTimestamp(date);
  record.set_incarnation(request.incarnation());
  *record.mutable_allowed_roots() = request.allowed_roots();
  *record.mutable_model_configs() = request.model_configs();
  return record;
}

// Whether two records say the same but for the time of contact.
bool SameButContact(internal::v1::WorkerRecord a, internal::v1::WorkerRecord b) {
  a.mutable_worker()->clear_last_contact_time();
  b.mutable_worker()->clear_last_contact_time();
  return google::protobuf::util::MessageDifferencer::Equals(a, b);
}

}  // namespace

bool KnownWorker::HasFree(const std::vector<std::string>& device_ids) const {
  std::set<absl::string_view> free;
  for (const v1::Device& device : record.worker().devices()) free.insert(device.id());
  for (const auto& [job, devices] : held) {
    for (const std::string& device : devices) free.erase(device);
  }
  return std::all_of(device_ids.begin(), device_ids.end(),
                     [&](const std::string& device) { return free.contains(device); });
}

void WorkerRegistry::Restore(internal::v1::WorkerRecord record, common::MonotonicTime lease_end) {
  const std::string id(absl::StripPrefix(record.worker().name(), "workers/"));
  KnownWorker& worker = workers_[id];
  worker.stored_contact = FromTimestamp(record.worker().last_contact_time());
  worker.record = std::move(record);
  worker.lease_end = lease_end;
}

absl::StatusOr<WorkerRegistry::Accepted> WorkerRegistry::Report(
    const worker::v1::SynchronizeRequest& request, absl::Time date, common::MonotonicTime lease_end,
    absl::Duration store_interval) {
  LONGLORA_RETURN_IF_ERROR(CheckReport(request));
  const auto found = workers_.find(request.worker());
  if (found != workers_.end()) {
    const std::deque<std::string>& old = found->second.superseded;
    if (std::find(old.begin(), old.end(), request.incarnation()) != old.end()) {
      return rpc::MakeError(
          absl::StatusCode::kAlreadyExists,
          absl::StrCat("another worker process has taken over the name \"", request.worker(),
                       "\": give each worker a --name of its own"),
          {"WORKER_NAME_TAKEN", {{"worker", request.worker()}}, {}});
    }
    LONGLORA_RETURN_IF_ERROR(found->second.record.incarnation() == request.incarnation()
                                 ? CheckOrder(found->second, request)
                                 : CheckCandidate(found->second, request));
  }
  KnownWorker& worker = workers_[request.worker()];
  if (worker.record.incarnation() != request.incarnation()) {
    if (!worker.record.incarnation().empty()) {
      worker.superseded.push_back(worker.record.incarnation());
      if (worker.superseded.size() > kSupersededMax) worker.superseded.pop_front();
    }
    worker.newest_report = 0;
  }
  worker.newest_report = std::max(worker.newest_report, request.number());
  internal::v1::WorkerRecord record = ToRecord(request, date);
  record.mutable_worker()->set_scheduling(worker.record.worker().scheduling());
  Accepted accepted;
  const bool same = SameButContact(worker.record, record);
  accepted.must_store = !same || date - worker.stored_contact >= store_interval;
  accepted.offers_changed = !same || !worker.connected || worker.leaving != request.leaving();
  if (accepted.must_store) worker.stored_contact = date;
  worker.record = std::move(record);
  worker.connected = true;
  worker.leaving = request.leaving();
  worker.lease_end = lease_end;
  return accepted;
}

void WorkerRegistry::Leave(absl::string_view id, common::MonotonicTime now) {
  const auto found = workers_.find(id);
  if (found == workers_.end()) return;
  found->second.connected = false;
  found->second.lease_end = now;
}

const KnownWorker* WorkerRegistry::SetScheduling(absl::string_view id,
                                                 v1::Worker::Scheduling scheduling) {
  const auto found = workers_.find(id);
  if (found == workers_.end()) return nullptr;
  found->second.record.mutable_worker()->set_scheduling(scheduling);
  return &found->second;
}

bool WorkerRegistry::Expire(common::MonotonicTime now) {
  bool expired = false;
  for (auto& [id, worker] : workers_) {
    if (!worker.connected || now < worker.lease_end) continue;
    worker.connected = false;
    expired = true;
  }
  return expired;
}

std::vector<std::string> WorkerRegistry::ForgetBefore(absl::Time date) {
  std::vector<std::string> forgotten;
  for (auto i = workers_.begin(); i != workers_.end();) {
    const KnownWorker& worker = i->second;
    const bool stale = FromTimestamp(worker.record.worker().last_contact_time()) < date;
    // That a machine is under repair must not be forgotten before it comes back.
    if (worker.connected || !worker.open() || !worker.held.empty() || !stale) {
      ++i;
      continue;
    }
    forgotten.push_back(worker.record.worker().name());
    i = workers_.erase(i);
  }
  return forgotten;
}

void WorkerRegistry::Hold(absl::string_view id, absl::string_view job,
                          std::vector<std::string> device_ids) {
  workers_[std::string(id)].held[std::string(job)] = std::move(device_ids);
}

void WorkerRegistry::Release(absl::string_view id, absl::string_view job) {
  const auto found = workers_.find(id);
  if (found == workers_.end()) return;
  const auto held = found->second.held.find(job);
  if (held != found->second.held.end()) found->second.held.erase(held);
}

const KnownWorker* WorkerRegistry::Find(absl::string_view id) const {
  const auto found = workers_.find(id);
  return found == workers_.end() ? nullptr : &found->second;
}

}  // namespace longlora::server
