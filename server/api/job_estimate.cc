#include "server/api/job_estimate.h"

#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base_model/model_config.h"
#include "common/memory/memory_estimate.h"
#include "common/status/status_macros.h"
#include "rpc/estimate_message.h"
#include "rpc/grpc_status.h"
#include "server/api/submit_check.h"
#include "server/scheduler/placement.h"

namespace longlora::server {
namespace {

absl::Status ModelError(const char* reason, const std::string& model, absl::string_view problem) {
  return rpc::MakeError(absl::StatusCode::kFailedPrecondition,
                        absl::StrCat("base_model: \"", model, "\" ", problem),
                        {.reason = reason, .metadata = {{"value", model}}});
}

absl::StatusOr<common::ModelConfig> ShapeOf(const std::string& model,
                                            const std::vector<ModelHost>& hosts) {
  const auto told = std::find_if(hosts.begin(), hosts.end(),
                                 [](const ModelHost& host) { return !host.config_json.empty(); });
  if (told == hosts.end()) {
    return ModelError(
        "MODEL_SHAPE_UNKNOWN", model,
        "is there, and no worker has told its config.json, as for paths and models of "
        "older workers; `longlora estimate --model DIR` takes it from a directory");
  }
  absl::StatusOr<common::ModelConfig> config = common::ParseModelConfig(told->config_json);
  if (config.ok()) return config;
  return ModelError("MODEL_INVALID", model,
                    absl::StrCat("cannot be trained: config.json of ", told->worker.name(), ": ",
                                 config.status().message()));
}

v1::WorkerFit FitOf(const v1::Worker& worker, const v1::FineTuneSpec& spec, int64_t rank_bytes) {
  v1::WorkerFit fit;
  fit.set_worker(worker.name());
  bool unknown = false;
  for (const v1::Device& device : worker.devices()) {
    if (device.kind() != DeviceKindOf(spec)) continue;
    unknown |= device.memory_bytes() == 0;
    const int64_t least = fit.device_count() == 0
                              ? device.memory_bytes()
                              : std::min(fit.device_memory_bytes(), device.memory_bytes());
    fit.set_device_memory_bytes(least);
    fit.set_device_count(fit.device_count() + 1);
  }
  if (fit.device_count() < DeviceCountOf(spec)) {
    fit.set_verdict(v1::WorkerFit::TOO_FEW_DEVICES);
  } else if (unknown) {
    fit.set_verdict(v1::WorkerFit::MEMORY_UNKNOWN);
  } else {
    fit.set_verdict(rank_bytes <= fit.device_memory_bytes() ? v1::WorkerFit::FITS
                                                            : v1::WorkerFit::TOO_LITTLE_MEMORY);
  }
  return fit;
}

}  // namespace

absl::StatusOr<v1::EstimateFineTuneJobResponse> EstimateJob(
    const v1::EstimateFineTuneJobRequest& request, Scheduler& scheduler) {
  if (!request.has_spec()) return SpecInvalid({{"spec", "is required"}});
  LONGLORA_ASSIGN_OR_RETURN(const common::TrainSpec spec, CheckSpec(request.spec()));
  LONGLORA_ASSIGN_OR_RETURN(const std::vector<ModelHost> hosts,
                            scheduler.FindHosts(request.spec()));
  LONGLORA_ASSIGN_OR_RETURN(const common::ModelConfig config, ShapeOf(spec.base_model, hosts));
  const absl::StatusOr<common::MemoryEstimate> estimate = common::EstimateMemory(spec, config);
  if (!estimate.ok()) return SpecInvalid({ToViolation(estimate.status().message())});
  v1::EstimateFineTuneJobResponse response = rpc::ToMessage(*estimate, spec);
  for (const ModelHost& host : hosts) {
    *response.add_workers() = FitOf(host.worker, request.spec(), estimate->total_bytes);
  }
  return response;
}

}  // namespace longlora::server
