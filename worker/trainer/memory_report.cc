#include "worker/trainer/memory_report.h"

#include <memory>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/base_model/model_config.h"
#include "common/memory/memory_estimate.h"
#include "common/status/status_macros.h"
#include "worker/trainer/base_model.h"
#include "worker/trainer/failure.h"
#include "worker/trainer/kernels/device_backend.h"

namespace longlora::trainer {
namespace {

constexpr size_t kComponentsNamed = 3;

absl::StatusOr<common::ModelConfig> ReadConfig(const std::string& base_model,
                                               const std::string& model_directory) {
  LONGLORA_ASSIGN_OR_RETURN(const std::string directory,
                            FindBaseModel(base_model, model_directory));
  return common::ReadModelConfig(directory);
}

absl::StatusOr<common::MemoryEstimate> EstimateJob(const common::TrainSpec& spec,
                                                   const std::string& model_directory) {
  const absl::StatusOr<common::ModelConfig> config = ReadConfig(spec.base_model, model_directory);
  if (!config.ok()) return BlameInput(config.status(), "MODEL_INVALID");
  // Of the CPU only: a GPU is not asked, and need not be there.
  LONGLORA_ASSIGN_OR_RETURN(const std::unique_ptr<DeviceBackend> cpu,
                            CreateDeviceBackend(common::Device::kCpu, RankEnvironment()));
  absl::StatusOr<common::MemoryEstimate> estimate =
      common::EstimateMemory(spec, *config, cpu->HasBf16());
  if (!estimate.ok()) return BlameInput(estimate.status(), "INVALID_SPEC");
  return estimate;
}

}  // namespace

absl::StatusOr<std::string> EstimateReport(const common::TrainSpec& spec,
                                           const std::string& model_directory) {
  LONGLORA_ASSIGN_OR_RETURN(const common::MemoryEstimate estimate,
                            EstimateJob(spec, model_directory));
  nlohmann::ordered_json components = nlohmann::ordered_json::array();
  for (const common::MemoryComponent& component : estimate.components) {
    components.push_back({{"name", component.name},
                          {"bytes", component.bytes},
                          {"description", component.description}});
  }
  const nlohmann::ordered_json report = {
      {"moment", estimate.moment},
      {"total_bytes", estimate.total_bytes},
      {"ranks", int64_t{spec.resources.nodes} * spec.resources.devices_per_node},
      {"components", std::move(components)}};
  return report.dump(2);
}

absl::Status ExplainOutOfMemory(absl::Status status, const common::TrainSpec& spec,
                                const std::string& model_directory) {
  if (ReasonOf(status) != "OUT_OF_MEMORY") return status;
  const absl::StatusOr<common::MemoryEstimate> estimate = EstimateJob(spec, model_directory);
  if (!estimate.ok()) return status;
  // What ran out of memory stands first.
  const std::string message =
      absl::StrCat(std::string(status.message()),
                   absl::StrFormat(". By estimate a rank takes %.2f GB, most of it: ",
                                   static_cast<double>(estimate->total_bytes) * 1e-9),
                   common::DescribeLargest(*estimate, kComponentsNamed));
  return WithReason(absl::Status(status.code(), message), "OUT_OF_MEMORY");
}

}  // namespace longlora::trainer
