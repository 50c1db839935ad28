// Before a job succeeds its results prove themselves: they are read back from the disk as another
// program would read them, and must give the logits the trainer had. Called by the loop after the
// export, on rank 0.
#ifndef LONGLORA_WORKER_TRAINER_EXPORT_PROOF_H_
#define LONGLORA_WORKER_TRAINER_EXPORT_PROOF_H_

#include <string>

#include "absl/status/statusor.h"
#include "worker/trainer/training_job.h"

namespace longlora::trainer {

struct ExportProof {
  int64_t modules = 0;   // LoRA modules that were applied, all that the job trained
  double largest = 0.0;  // |difference| of a logit, at most
  double bound = 0.0;    // what it may be
};

// Wipes what the job trained, reads `directory` in its place and compares logits. The tensors lie
// in the file as they are, so the logits may differ by 1e-6 of the largest. EXPORT_INVALID when a
// module or parameter is missing, not finite, or the logits are others; the job's weights are lost
// then.
absl::StatusOr<ExportProof> ProveAdapter(TrainingJob& job, const std::string& directory);

// Loads `directory` by its own config.json, RoPE scaling included, as a model without adapters, and
// compares logits: within 1e-3 of the largest where the base's weights are fp32, within 5e-2 where
// the merged sum was rounded to 16 bits. Takes the memory of a second model, and frees the
// optimizer's first.
absl::StatusOr<ExportProof> ProveMerged(TrainingJob& job, const std::string& directory);

}  // namespace longlora::trainer

#endif  // LONGLORA_WORKER_TRAINER_EXPORT_PROOF_H_
