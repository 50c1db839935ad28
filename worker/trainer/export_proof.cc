#include "worker/trainer/export_proof.h"

#include <algorithm>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/status/annotate.h"
#include "common/status/status_macros.h"
#include "worker/trainer/base_model.h"
#include "worker/trainer/batch.h"
#include "worker/trainer/checkpoint/safetensors.h"
#include "worker/trainer/failure.h"
#include "worker/trainer/model/job_rope.h"

namespace longlora::trainer {
namespace {

using torch::Tensor;

constexpr int64_t kProbeTokens = 512;
constexpr int64_t kProbePositions = 16;
constexpr int64_t kProbeRowsTried = 16;

// Tokens of a training row as one document.
ModelInput ProbeInput(const TrainingJob& job, int64_t index) {
  const Tensor row =
      MakeBatch(*job.training, {index}, BatchAttention{}, job.device()).input.input_ids;
  const int64_t tokens = std::min(row.size(1), kProbeTokens);
  return {.input_ids = row.slice(1, 0, tokens),
          .position_ids =
              torch::arange(tokens, torch::device(job.device()).dtype(torch::kInt64)).unsqueeze(0),
          .segments = {SegmentsOfDocuments({0, tokens}, BatchAttention{})}};
}

// [positions, V] fp32 on the CPU, of the last positions.
Tensor Logits(const LlamaModel& model, const ModelInput& probe) {
  const Tensor hidden = model.Forward(probe, /*checkpoint_activations=*/false)[0];
  const Tensor last =
      hidden.slice(0, std::max<int64_t>(0, hidden.size(0) - kProbePositions)).to(torch::kFloat32);
  return last.matmul(model.lm_head().to(torch::kFloat32).t()).cpu();
}

struct Probe {
  ModelInput input;
  Tensor logits;  // of the trainer
};

// Of the first training row that gives finite logits: a step on one that does not is skipped, and
// the job may be well all the same.
Probe MakeProbe(const TrainingJob& job) {
  Probe probe;
  const int64_t rows = std::min(job.training->num_rows(), kProbeRowsTried);
  for (int64_t row = 0; row < rows; ++row) {
    probe.input = ProbeInput(job, row);
    probe.logits = Logits(*job.model, probe.input);
    if (probe.logits.isfinite().all().item<bool>()) break;
  }
  return probe;
}

absl::StatusOr<ExportProof> Compare(const Tensor& found, const Tensor& wanted, double share,
                                    const TrainingJob& job) {
  ExportProof proof;
  proof.modules = static_cast<int64_t>(job.lora.size());
  proof.largest = (found - wanted).abs().max().item<double>();
  proof.bound = share * wanted.abs().max().item<double>();
  // NaN fails every comparison, hence the negation.
  if (!(proof.largest <= proof.bound)) {
    return absl::DataLossError(absl::StrCat("its logits differ from the trainer's by ",
                                            proof.largest, ", allowed are ", proof.bound));
  }
  return proof;
}

absl::StatusOr<ExportProof> ReadBackAdapter(TrainingJob& job, const std::string& directory) {
  const torch::NoGradGuard no_grad;
  const Probe probe = MakeProbe(job);
  for (Parameter& parameter : job.trained) {
    parameter.value.fill_(std::numeric_limits<double>::quiet_NaN());
  }
  LONGLORA_ASSIGN_OR_RETURN(const std::vector<std::string> missing, LoadAdapter(directory, job));
  if (!missing.empty()) return absl::DataLossError(absl::StrCat("it does not hold ", missing[0]));
  for (const Parameter& parameter : job.trained) {
    if (!AllFinite(parameter.value)) {
      return absl::DataLossError(absl::StrCat(parameter.name, " is not finite"));
    }
  }
  return Compare(Logits(*job.model, probe.input), probe.logits, 1e-6, job);
}

absl::StatusOr<ExportProof> ReadBackMerged(TrainingJob& job, const std::string& directory) {
  const torch::NoGradGuard no_grad;
  const Probe probe = MakeProbe(job);
  job.optimizer.reset();
  LONGLORA_ASSIGN_OR_RETURN(const common::ModelConfig config, common::ReadModelConfig(directory));
  ModelOptions options;
  options.dtype = job.model->options().dtype;
  options.device = job.device();
  // `default` keeps what the file has.
  LONGLORA_ASSIGN_OR_RETURN(const JobRotary own,
                            JobRope(config, {.type = common::RopeType::kDefault, .factor = {}},
                                    job.spec().max_sequence_length));
  options.rope = own.rope;
  LONGLORA_ASSIGN_OR_RETURN(const std::unique_ptr<LlamaModel> merged,
                            ReadModelFiles(directory, config, options));
  LONGLORA_ASSIGN_OR_RETURN(const SafetensorsDirectory files,
                            SafetensorsDirectory::Open(directory));
  LONGLORA_ASSIGN_OR_RETURN(const Tensor norm, files.Get("model.norm.weight"));
  // In the files, or when a bf16 job reads them: the sum W + BA is rounded, the trainer's parts
  // were.
  const bool rounded = norm.scalar_type() != torch::kFloat32 || options.dtype != torch::kFloat32;
  return Compare(Logits(*merged, probe.input), probe.logits, rounded ? 5e-2 : 1e-3, job);
}

absl::StatusOr<ExportProof> Blamed(absl::StatusOr<ExportProof> proof,
                                   const std::string& directory) {
  if (proof.ok()) return proof;
  return BlameInput(common::Annotate(proof.status(), absl::StrCat(directory, " was read back")),
                    "EXPORT_INVALID");
}

}  // namespace

absl::StatusOr<ExportProof> ProveAdapter(TrainingJob& job, const std::string& directory) {
  return Blamed(ReadBackAdapter(job, directory), directory);
}

absl::StatusOr<ExportProof> ProveMerged(TrainingJob& job, const std::string& directory) {
  return Blamed(ReadBackMerged(job, directory), directory);
}

}  // namespace longlora::trainer
