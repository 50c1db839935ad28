// How a job comes in.
#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>

#include <set>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/ids/id_generator.h"
#include "common/io/sha256.h"
#include "common/status/status_macros.h"
#include "rpc/grpc_status.h"
#include "server/scheduler/scheduler.h"
#include "server/store/resource_names.h"

namespace longlora::server {
namespace {

constexpr int kIdSuffixLength = 8;  // 41 bits: two jobs of one display_name do not meet
constexpr int kSubmitTriesMax = 3;  // against ids and request_ids taken meanwhile
constexpr size_t kNamesInMessageMax = 10;

// Equal requests have equal digests: the serialization of a message without maps has one order.
std::string DigestOf(const v1::FineTuneSpec& spec) {
  std::string bytes;
  {
    google::protobuf::io::StringOutputStream stream(&bytes);
    google::protobuf::io::CodedOutputStream coded(&stream);
    coded.SetSerializationDeterministic(true);
    spec.SerializeToCodedStream(&coded);
  }
  return common::Sha256Hex(bytes);
}

std::string SomeOf(const std::set<std::string>& names) {
  std::vector<absl::string_view> some;
  for (const std::string& name : names) {
    if (some.size() == kNamesInMessageMax) break;
    some.push_back(name);
  }
  if (some.empty()) return "nothing";
  return absl::StrCat(absl::StrJoin(some, ", "), names.size() > some.size() ? ", ..." : "");
}

absl::Status ModelUnavailable(absl::string_view field, const std::string& value,
                              absl::string_view explanation) {
  return rpc::MakeError(
      absl::StatusCode::kFailedPrecondition, absl::StrCat(field, ": ", explanation),
      {"MODEL_UNAVAILABLE", {{"field", std::string(field)}, {"value", value}}, {}});
}

absl::Status SpecInvalid(const std::string& field, const std::string& description) {
  return rpc::MakeError(absl::StatusCode::kInvalidArgument,
                        absl::StrCat("the spec is invalid: ", field, ": ", description),
                        {.reason = "SPEC_INVALID", .violations = {{field, description}}});
}

absl::Status RequestIdReused(const std::string& request_id, absl::string_view job) {
  return rpc::MakeError(
      absl::StatusCode::kAlreadyExists,
      absl::StrCat("request_id ", request_id, " belongs to ", job,
                   ", which was made from another spec: use a new request_id for a new wish"),
      {"REQUEST_ID_REUSED", {{"request_id", request_id}, {"job", std::string(job)}}, {}});
}

}  // namespace

absl::Status Scheduler::CheckQueue(const v1::FineTuneSpec& spec) const {
  const absl::string_view name = QueueOf(spec);
  const QueueConfig* queue = options_.queues.Find(name);
  if (queue == nullptr) {
    std::set<std::string> names;
    for (const auto& [other, config] : options_.queues.queues) names.insert(other);
    return SpecInvalid(
        "queue", absl::StrCat("there is no queue \"", name, "\"; this server has ", SomeOf(names)));
  }
  const std::string kind(DeviceKindOf(spec));
  const std::optional<int32_t> limit = queue->LimitOf(kind);
  if (limit.has_value() && DeviceCountOf(spec) > *limit) {
    return SpecInvalid("resources.devices_per_node",
                       absl::StrCat("asks for ", DeviceCountOf(spec), " ", kind,
                                    " devices, and queue ", name, " may use ", *limit, " at most"));
  }
  const absl::Duration wanted = absl::Seconds(spec.resources().max_duration_seconds());
  if (queue->max_duration.has_value() && wanted > *queue->max_duration) {
    return SpecInvalid("resources.max_duration_seconds",
                       absl::StrCat("is more than the ", absl::FormatDuration(*queue->max_duration),
                                    " that queue ", name, " allows"));
  }
  return absl::OkStatus();
}

absl::Status Scheduler::CheckModel(const v1::FineTuneSpec& spec) {
  const std::string& model = spec.base_model();
  const std::string& adapter = spec.method().initial_adapter();
  if (workers_.workers().empty()) {
    return ModelUnavailable("base_model", model,
                            "no worker has connected to this server yet, so nobody has it; start a "
                            "longlora-worker first");
  }
  bool model_found = false;
  std::set<std::string> models;
  std::set<std::string> roots;
  for (const auto& [id, known] : workers_.workers()) {
    const std::vector<std::string> its_models(known.record.worker().models().begin(),
                                              known.record.worker().models().end());
    const std::vector<std::string> its_roots(known.record.allowed_roots().begin(),
                                             known.record.allowed_roots().end());
    models.insert(its_models.begin(), its_models.end());
    roots.insert(its_roots.begin(), its_roots.end());
    if (!CanRead(model, its_models, its_roots)) continue;
    model_found = true;
    if (adapter.empty() || CanRead(adapter, {}, its_roots)) return absl::OkStatus();
  }
  if (model_found) {
    return ModelUnavailable(
        "method.initial_adapter", adapter,
        absl::StrCat("\"", adapter, "\" is no path below a root that a worker with the base model ",
                     "allows; workers allow ", SomeOf(roots)));
  }
  if (absl::StartsWith(model, "/")) {
    return ModelUnavailable(
        "base_model", model,
        absl::StrCat("\"", model, "\" is not below a root that a worker allows; ", "workers allow ",
                     SomeOf(roots)));
  }
  return ModelUnavailable("base_model", model,
                          absl::StrCat("no worker has \"", model,
                                       "\" in its model directory; workers have ", SomeOf(models)));
}

absl::StatusOr<std::optional<v1::FineTuneJob>> Scheduler::FindRepeat(const std::string& request_id,
                                                                     absl::string_view digest) {
  std::string name;
  {
    absl::MutexLock lock(&mutex_);
    const auto found = ids_by_request_id_.find(request_id);
    if (found != ids_by_request_id_.end()) name = JobName(found->second);
  }
  if (name.empty()) {
    absl::StatusOr<StoredJob> stored = dependencies_.store->ReadJobByRequestId(request_id);
    if (absl::IsNotFound(stored.status())) return std::nullopt;
    if (!stored.ok()) return stored.status();
    name = JobName(stored->id);
  }
  absl::StatusOr<Sight> sight = Look(name);
  if (absl::IsNotFound(sight.status()))
    return std::nullopt;  // its creation failed, or it was deleted
  if (!sight.ok()) return sight.status();
  if (sight->job.record.request_digest() != digest) return RequestIdReused(request_id, name);
  return std::optional<v1::FineTuneJob>(std::move(sight->view));
}

Answer<v1::FineTuneJob> Scheduler::BeginSubmit(SubmitRequest request) {
  return BeginSubmit(std::move(request), kSubmitTriesMax);
}

Answer<v1::FineTuneJob> Scheduler::BeginSubmit(SubmitRequest request, int tries) {
  if (tries == 0) {
    return absl::UnavailableError("the id of the new job was taken several times over; try again");
  }
  const std::string digest = DigestOf(request.spec);
  if (!request.request_id.empty()) {
    LONGLORA_ASSIGN_OR_RETURN(std::optional<v1::FineTuneJob> repeat,
                              FindRepeat(request.request_id, digest));
    if (repeat.has_value()) return *std::move(repeat);
  }
  v1::FineTuneJob view;
  std::optional<Handed> handed;
  {
    absl::MutexLock lock(&mutex_);
    LONGLORA_RETURN_IF_ERROR(CheckQueue(request.spec));
    LONGLORA_RETURN_IF_ERROR(CheckModel(request.spec));
    if (static_cast<int64_t>(live_jobs_.size()) >= options_.live_jobs_max) {
      return rpc::MakeError(absl::StatusCode::kResourceExhausted,
                            absl::StrCat("the server holds ", live_jobs_.size(),
                                         " unfinished jobs and takes no more; try again later"),
                            {"QUEUE_FULL", {}, {}});
    }
    const Moment now = Now();
    NewJob job{common::JobId(request.spec.display_name(),
                             dependencies_.ids->RandomSuffix(kIdSuffixLength)),
               newest_order_ + 1, request.spec, request.request_id, digest};
    if (request.validate_only) {
      view = ToFineTuneJob(JobEditor::Create(std::move(job), now.date).job());
      view.clear_name();
      view.clear_etag();
      return view;
    }
    if (FindLive(job.id) == nullptr && !ids_by_request_id_.contains(job.request_id)) {
      ++newest_order_;
      LiveJob& live = live_jobs_[job.id];
      live.job.id = job.id;
      if (!job.request_id.empty()) ids_by_request_id_[job.request_id] = job.id;
      handed = Apply(live, JobEditor::Create(std::move(job), now.date), now);
      ++counters_.jobs_submitted;
      view = View(live);
    }
  }
  if (!handed.has_value()) return BeginSubmit(std::move(request), tries - 1);
  const CommitTicket ticket = handed->ticket;
  return {ticket,
          [this, tries, request = std::move(request), handed = *std::move(handed),
           view = std::move(view)]() mutable -> absl::StatusOr<v1::FineTuneJob> {
            const absl::Status status = Await({handed});
            if (status.ok()) return std::move(view);
            if (!absl::IsAlreadyExists(status)) return status;
            return BeginSubmit(std::move(request), tries - 1).Get();
          }};
}

}  // namespace longlora::server
